"""dm_control's suite and foreign environments, stepped for real."""

import os
import subprocess
import sys

from acme import specs as acme_specs
from acme.testing import fakes
from dm_control import suite
import dm_env
from dm_env import specs
import numpy as np
import pytest

from acme_dsdpg import config as config_lib
from acme_dsdpg import environments


class Foreign(dm_env.Environment):
  """A user's environment: nested observations, actions in [-2, 4]."""

  def __init__(self, action_spec=None, observation_spec=None):
    self._action_spec = action_spec or specs.BoundedArray((2,), np.float64, -2.0, 4.0)
    self._observation_spec = observation_spec or {
      'z': specs.Array((), np.float64),
      'a': {'matrix': specs.Array((2, 2), np.float32), 'flag': specs.Array((), bool)},
    }
    self.actions = []

  def observation_spec(self):
    return self._observation_spec

  def action_spec(self):
    return self._action_spec

  def _observation(self):
    return {'z': 7.0, 'a': {'matrix': np.arange(4.0).reshape(2, 2), 'flag': True}}

  def reset(self):
    return dm_env.restart(self._observation())

  def step(self, action):
    self.actions.append(action)
    return dm_env.transition(1.0, self._observation())


@pytest.mark.process
def test_only_third_party_noise_is_silenced_and_names_need_no_tensorflow():
  program = (
    'import sys, acme_dsdpg\n'
    'acme_dsdpg.set_up()\n'
    'from absl import logging\n'
    'from acme_dsdpg import environments\n'
    'environments.resolve_task("cheetah")\n'
    'assert "tensorflow" not in sys.modules\n'
    'environments.make_environment("cheetah", "run", 0)\n'
    'logging.warning("ours")\n'
  )
  # JAX, imported beside the tests, leaves its own level in the environment.
  env = {k: v for k, v in os.environ.items() if k != 'TF_CPP_MIN_LOG_LEVEL'}
  result = subprocess.run(
    [sys.executable, '-c', program], capture_output=True, text=True, check=True, env=env
  )
  assert result.stderr == 'WARNING:absl:ours\n'
  assert not result.stdout


@pytest.mark.parametrize('env', sorted(suite.TASKS_BY_DOMAIN))
def test_every_domain_gives_flat_float32_and_canonical_actions(env):
  environment = environments.make_environment(env, seed=3)
  spec = acme_specs.make_environment_spec(environment)
  assert spec.observations.dtype == np.float32
  assert len(spec.observations.shape) == 1
  np.testing.assert_array_equal(spec.actions.minimum, -1.0)
  np.testing.assert_array_equal(spec.actions.maximum, 1.0)
  timestep = environment.reset()
  spec.observations.validate(timestep.observation)
  timestep = environment.step(np.zeros(spec.actions.shape, np.float32))
  spec.observations.validate(timestep.observation)
  assert timestep.reward.dtype == np.float32
  assert timestep.discount.dtype == np.float32
  assert np.all(np.isfinite(timestep.observation))


def test_every_domain_has_a_valid_default_task():
  for env in suite.TASKS_BY_DOMAIN:
    assert environments.resolve_task(env) in suite.TASKS_BY_DOMAIN[env]
  assert environments.resolve_task('walker') == 'walk'
  assert environments.resolve_task('walker', 'run') == 'run'


def test_flattening_keeps_a_fixed_order():
  environment = environments.wrap(Foreign())
  # Sorted keys: a/flag, a/matrix, z.
  expected = np.array([1, 0, 1, 2, 3, 7], np.float32)
  np.testing.assert_array_equal(environment.reset().observation, expected)
  action = np.zeros(2, np.float32)
  np.testing.assert_array_equal(environment.step(action).observation, expected)


def test_suite_observation_is_the_sorted_concatenation():
  wrapped = environments.make_environment('walker', 'walk', seed=1).reset()
  raw = suite.load('walker', 'walk', task_kwargs={'random': 1}).reset().observation
  expected = np.concatenate([np.ravel(raw[key]) for key in sorted(raw)])
  np.testing.assert_allclose(wrapped.observation, expected.astype(np.float32))


def test_actions_are_clipped_and_scaled_to_the_bounds():
  foreign = Foreign()
  environment = environments.wrap(foreign)
  environment.reset()
  for canonical, expected in (([0, 0], [1, 1]), ([-1, 1], [-2, 4]), ([-9, 9], [-2, 4])):
    environment.step(np.array(canonical, np.float32))
    np.testing.assert_allclose(foreign.actions[-1], expected)


def test_seeds_decide_the_initial_state():
  first = lambda seed: environments.SuiteFactory('walker')(seed).reset().observation
  np.testing.assert_array_equal(first(1), first(1))
  assert np.any(first(1) != first(2))


def test_noise_on_the_actions_has_the_deviation_asked_for():
  environment = environments.SuiteFactory('pendulum', action_noise=0.05)(0)
  environment.reset()
  torques = []
  for _ in range(1000):
    environment.step(np.full(1, 0.3, np.float32))
    torques.append(environment.physics.control()[0])
  # Of a range of 2.
  np.testing.assert_allclose(np.std(torques), 0.1, rtol=0.1)
  np.testing.assert_allclose(np.mean(torques), 0.3, atol=0.015)


def test_fakes_environment_passes():
  environment = fakes.ContinuousEnvironment(action_dim=2, observation_dim=3, bounded=True)
  wrapped = environments.wrap(environment)
  assert wrapped.observation_spec().shape == (3,)
  assert wrapped.reset().observation.dtype == np.float32


@pytest.mark.parametrize(
  ('action_spec', 'observation_spec', 'text'),
  [
    (specs.DiscreteArray(3), None, 'discrete'),
    (specs.Array((2,), np.float32), None, 'no bounds'),
    (specs.BoundedArray((2,), np.float32, -np.inf, np.inf), None, 'not finite'),
    (specs.BoundedArray((2,), np.float32, 1.0, 1.0), None, 'not below'),
    (specs.BoundedArray((2, 2), np.float32, -1.0, 1.0), None, 'one vector'),
    (specs.BoundedArray((2,), np.int32, -1, 1), None, 'discrete'),
    (None, {'pixels': specs.Array((8, 8, 3), np.uint8)}, 'image'),
    (None, {'mode': specs.DiscreteArray(4)}, 'discrete'),
    (None, {'nothing': specs.Array((0,), np.float32)}, 'empty'),
    (None, {'word': specs.StringArray(())}, 'no number'),
  ],
)
def test_unfit_spaces_are_refused_with_a_sentence(action_spec, observation_spec, text):
  with pytest.raises(config_lib.ConfigError, match=text):
    environments.wrap(Foreign(action_spec, observation_spec))


@pytest.mark.parametrize(
  ('env', 'task', 'text'),
  [
    ('walke', None, "'walke' is not a domain .*cheetah.* Did you mean walker"),
    ('walker', 'fly', "'fly' is not a task of walker. Valid: stand, walk, run"),
  ],
)
def test_unknown_names_list_the_valid_ones(env, task, text):
  with pytest.raises(config_lib.ConfigError, match=text):
    environments.resolve_task(env, task)
