"""dm_control's suite, stepped for real."""

import os
import subprocess
import sys

from acme import specs as acme_specs
from acme import wrappers
from acme.wrappers import canonical_spec
from dm_control import suite
import numpy as np
import pytest
import tree

from acme_dsdpg import config as config_lib
from acme_dsdpg import environments
from acme_dsdpg.environments import base
from tests.running import runs


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


TASKS = [(env, task) for env, tasks in suite.TASKS_BY_DOMAIN.items() for task in tasks]


class _Recorder(base.EnvironmentWrapper):
  """Keeps what the wrapper gives to the environment, and gets from it."""

  def reset(self):
    self.timestep = super().reset()
    return self.timestep

  def step(self, action):
    self.action, self.timestep = action, super().step(action)
    return self.timestep


@pytest.mark.parametrize('name', TASKS, ids='-'.join)
def test_every_task_of_the_suite_is_as_acmes_wrappers_give_it(name):
  if name[0] == 'lqr':
    with pytest.raises(config_lib.ConfigError, match='lqr.* no bounds .* no end'):
      environments.make_environment(*name)
    return
  recorder = _Recorder(environments.make_environment(*name, seed=3).environment)
  environment, inner = environments.wrap(recorder), recorder.action_spec()
  acmes = wrappers.SinglePrecisionWrapper(
    wrappers.CanonicalSpecWrapper(recorder, clip=True)
  )
  spec = acme_specs.make_environment_spec(environment)
  assert spec[1:] == acme_specs.make_environment_spec(acmes)[1:]  # But observations.
  rng = np.random.default_rng(0)
  timestep = environment.reset()
  for _ in range(4):
    leaves = tree.flatten(recorder.timestep.observation)
    flat = np.concatenate([np.ravel(leaf) for leaf in leaves]).astype(np.float32)
    np.testing.assert_array_equal(timestep.observation, flat)
    spec.observations.validate(timestep.observation)
    assert np.all(np.isfinite(timestep.observation))
    action = rng.uniform(-1.2, 1.2, spec.actions.shape).astype(np.float32)
    timestep = environment.step(action)
    scaled = canonical_spec._scale_nested_action(action, inner, clip=True)
    np.testing.assert_allclose(recorder.action, scaled, rtol=1e-6, atol=3e-7)
    inner.validate(recorder.action)  # Type and bounds.
    for field in ('reward', 'discount'):
      value = getattr(timestep, field)
      assert type(value) is np.float32
      assert value == np.float32(getattr(recorder.timestep, field))


@pytest.mark.parametrize(
  ('given', 'says'),
  [('nonsense', "MUJOCO_GL='nonsense' does not work here"), ('', '')],
)
@pytest.mark.process
def test_no_task_needs_a_backend_that_renders(given, says):
  program = runs.python(
    '-c',
    'import acme_dsdpg, os\n'
    'acme_dsdpg.set_up()\n'
    'from acme_dsdpg import environments\n'
    'assert environments.make_environment("quadruped", "escape", 0).reset().first()\n'
    'assert os.environ["MUJOCO_GL"] == "disable"\n',
    env={'MUJOCO_GL': given},
  )
  assert program.wait() == 0, program.err
  assert len(program.err.splitlines()) == bool(says)
  assert says in program.err


def test_every_domain_has_a_valid_default_task():
  for env in set(suite.TASKS_BY_DOMAIN) - {'lqr'}:
    assert environments.resolve_task(env) in suite.TASKS_BY_DOMAIN[env]
  assert environments.resolve_task('walker') == 'walk'
  assert environments.resolve_task('walker', 'run') == 'run'


def test_suite_observation_is_the_sorted_concatenation():
  wrapped = environments.make_environment('walker', 'walk', seed=1).reset()
  raw = suite.load('walker', 'walk', task_kwargs={'random': 1}).reset().observation
  expected = np.concatenate([np.ravel(raw[key]) for key in sorted(raw)])
  np.testing.assert_allclose(wrapped.observation, expected.astype(np.float32))


def test_seeds_decide_the_initial_state():
  first = lambda seed: environments.SuiteFactory('walker')(seed).reset().observation
  np.testing.assert_array_equal(first(1), first(1))
  assert np.any(first(1) != first(2))


def test_repeated_actions_are_as_many_simulator_steps():
  once = environments.SuiteFactory('walker')(0)
  repeated = environments.SuiteFactory('walker', action_repeat=4)(0)
  once.reset()
  repeated.reset()
  action = np.linspace(-0.5, 0.5, 6, dtype=np.float32)
  timesteps = [once.step(action) for _ in range(4)]
  timestep = repeated.step(action)
  np.testing.assert_array_equal(timestep.observation, timesteps[-1].observation)
  np.testing.assert_allclose(timestep.reward, sum(t.reward for t in timesteps), rtol=1e-6)
  assert timestep.reward > timesteps[-1].reward
  assert timestep.discount == 1.0
  length = 1
  while not timestep.last():
    timestep, length = repeated.step(action), length + 1
  assert length == 250


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
