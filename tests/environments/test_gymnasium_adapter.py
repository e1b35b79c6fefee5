"""Gymnasium's environments, the real ones, as dm_env's."""

from absl.testing import absltest
import dm_env
from dm_env import specs, test_utils
import gymnasium
from gymnasium import spaces
import numpy as np
import pytest

from acme_dsdpg import config as config_lib
from acme_dsdpg import environments


class Point(gymnasium.Env):
  """A point in a box; its episodes end as told by `ends`, (terminated, truncated)."""

  def __init__(self, ends=((False, False),), actions=None, observations=None):
    self.action_space = actions or spaces.Box(-2.0, 4.0, (2,), np.float32)
    self.observation_space = observations or spaces.Dict(
      {
        'position': spaces.Box(-np.inf, np.inf, (2,), np.float64),
        'flags': spaces.MultiBinary(3),
        'pair': spaces.Tuple([spaces.Box(0, 1, ()), spaces.Box(0, 1, (2, 2))]),
      }
    )
    self._ends, self.actions, self.seeds, self.closed = list(ends), [], [], 0

  def reset(self, *, seed=None, options=None):
    super().reset(seed=seed)
    self.seeds.append(seed)
    return self._observation(), {}

  def step(self, action):
    self.actions.append(action)
    end = self._ends.pop(0) if self._ends else (False, False)
    return self._observation(), 1.5, *end, {}

  def close(self):
    self.closed += 1

  def _observation(self):
    return {
      'position': self.np_random.normal(size=2),
      'flags': np.array([1, 0, 1], np.int8),
      'pair': (np.float32(0.5), np.full((2, 2), 0.25, np.float32)),
    }


def _wrap(point, seed=None):
  return environments.wrap(environments.from_gymnasium(point, seed))


ZERO = np.zeros(2, np.float32)


def test_observations_actions_and_rewards_are_the_environments():
  point = Point()
  environment = _wrap(point)
  assert environment.observation_spec().shape == (10,)
  first = environment.reset().observation
  # Sorted: flags, pair, position.
  np.testing.assert_array_equal(first[:8], [1, 0, 1, 0.5, 0.25, 0.25, 0.25, 0.25])
  timestep = environment.step(np.array([-1.0, 1.0], np.float32))
  np.testing.assert_array_equal(point.actions[0], [-2.0, 4.0])
  assert point.action_space.contains(point.actions[0])
  assert (timestep.reward, timestep.discount) == (1.5, 1.0)
  assert timestep.mid()


@pytest.mark.parametrize(
  ('end', 'discount'),
  [((True, False), 0.0), ((False, True), 1.0), ((True, True), 0.0)],
)
def test_a_time_limit_is_no_end_of_the_rewards(end, discount):
  environment = _wrap(Point([(False, False), tuple(map(np.bool_, end))]))
  environment.reset()
  assert environment.step(ZERO).mid()
  timestep = environment.step(ZERO)
  assert (timestep.last(), timestep.discount) == (True, discount)
  assert environment.step(ZERO).first()  # As dm_env has it.


def test_the_seed_is_that_of_the_first_reset():
  points = [Point() for _ in range(3)]
  observations = []
  for point, seed in zip(points, (3, 3, 4)):
    environment = _wrap(point, seed)
    observations.append([environment.reset().observation for _ in range(2)])
  assert points[0].seeds == [3, None]
  np.testing.assert_array_equal(observations[0], observations[1])
  assert np.any(observations[0][0] != observations[2][0])
  assert np.any(observations[0][0] != observations[0][1])


def test_it_is_closed_through_the_adapter():
  point = Point()
  _wrap(point).close()
  assert point.closed == 1


@pytest.mark.parametrize('name', ['Pendulum-v1', 'MountainCarContinuous-v0'])
def test_a_registered_environment_runs_to_its_time_limit(name):
  environment = _wrap(gymnasium.make(name, max_episode_steps=20), seed=0)
  timestep, steps = environment.reset(), 0
  while not timestep.last():
    timestep = environment.step(np.ones(1, np.float32))
    steps += 1
  assert (steps, timestep.discount) == (20, 1.0)
  assert np.all(np.isfinite(timestep.observation))


class TestConformity(test_utils.EnvironmentTestMixin, absltest.TestCase):
  """What dm_env demands of any environment."""

  def make_object_under_test(self):
    ends = [(False, False)] * 3 + [(False, True)]
    return environments.from_gymnasium(Point(ends * 30))


@pytest.mark.parametrize(
  ('kwargs', 'text'),
  [
    (dict(actions=spaces.Discrete(3)), 'discrete'),
    (dict(actions=spaces.MultiDiscrete([3, 3])), 'MultiDiscrete'),
    (dict(actions=spaces.Box(-np.inf, np.inf, (2,))), 'not finite'),
    (dict(actions=spaces.Box(-1.0, 1.0, (2, 2))), 'one vector'),
    (dict(observations=spaces.Text(4)), 'The observation is a Text'),
    (dict(observations=spaces.Box(0, 255, (8, 8, 3), np.uint8)), 'image'),
    (dict(observations=spaces.Dict(a=spaces.Discrete(3))), 'discrete'),
  ],
)
def test_other_spaces_are_refused(kwargs, text):
  with pytest.raises(config_lib.ConfigError, match=text):
    _wrap(Point(**kwargs))


class _Old:
  """As Gym was before 0.26."""

  action_space = spaces.Box(-1.0, 1.0, (2,))
  observation_space = spaces.Box(-1.0, 1.0, (2,))

  def reset(self):
    return ZERO

  def step(self, action):
    return ZERO, 0.0, False, {}


@pytest.mark.parametrize('seed', [None, 1])
def test_an_older_gym_is_named(seed):
  with pytest.raises(config_lib.ConfigError, match='an older Gym'):
    _wrap(_Old(), seed).reset()
  environment = _Old()
  environment.reset = lambda: (ZERO, {})
  wrapped = _wrap(environment)
  wrapped.reset()
  with pytest.raises(config_lib.ConfigError, match='step returned .* an older Gym'):
    wrapped.step(ZERO)


def test_what_is_none_is_named():
  with pytest.raises(config_lib.ConfigError, match='int is not a Gymnasium'):
    environments.from_gymnasium(3)
  several = gymnasium.make_vec('Pendulum-v1', 2, vectorization_mode='sync')
  with pytest.raises(config_lib.ConfigError, match='several environments in one'):
    environments.from_gymnasium(several)


def test_its_specs_are_dm_envs():
  environment = environments.from_gymnasium(Point())
  assert isinstance(environment, dm_env.Environment)
  assert environment.action_spec() == specs.BoundedArray((2,), np.float32, -2.0, 4.0)
  assert environment.observation_spec()['flags'].dtype == np.int8
