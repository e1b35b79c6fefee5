"""Anyone's environment, wrapped: what goes in, what comes out, what is refused."""

import collections
import copy
import types

from acme.testing import fakes
import dm_env
from dm_env import specs
import numpy as np
import pytest

from acme_dsdpg import config as config_lib
from acme_dsdpg import environments

VECTOR = specs.Array((2,), np.float64)
ZERO = np.zeros(2, np.float32)


class Foreign(dm_env.Environment):
  """A user's environment: nested observations, actions in [-2, 4].

  Its specs, and what its reset and its steps return, may be given.
  """

  def __init__(self, actions=None, observations=None, rewards=None, reset=None, steps=()):
    self._action_spec = actions or specs.BoundedArray((2,), np.float64, -2.0, 4.0)
    self._observation_spec = observations or {
      'z': specs.Array((), np.float64),
      'a': {'matrix': specs.Array((2, 2), np.float32), 'flag': specs.Array((), bool)},
    }
    self._reward_spec = rewards
    self._reset, self._steps = reset, list(steps)
    self.actions = []

  def observation_spec(self):
    return self._observation_spec

  def action_spec(self):
    return self._action_spec

  def reward_spec(self):
    return self._reward_spec or super().reward_spec()

  def _observation(self):
    return {'z': 7.0, 'a': {'matrix': np.arange(4.0).reshape(2, 2), 'flag': True}}

  def reset(self):
    return self._reset or dm_env.restart(self._observation())

  def step(self, action):
    self.actions.append(action)
    if self._steps:
      return self._steps.pop(0)
    return dm_env.transition(1.0, self._observation())

  @property
  def robot(self):
    return 'arm'


def _step(environment):
  environment.reset()
  return environment.step(ZERO)


def _after_reset(**kwargs):
  """A wrapped environment that has been reset, and the environment inside."""
  foreign = Foreign(**kwargs)
  environment = environments.wrap(foreign)
  environment.reset()
  return environment, foreign


def test_flattening_keeps_a_fixed_order():
  environment = environments.wrap(Foreign())
  # Sorted keys: a/flag, a/matrix, z.
  expected = np.array([1, 0, 1, 2, 3, 7], np.float32)
  np.testing.assert_array_equal(environment.reset().observation, expected)
  timestep = environment.step(ZERO)
  np.testing.assert_array_equal(timestep.observation, expected)
  assert timestep.observation.dtype == np.float32


def test_an_observation_is_not_overwritten_by_the_next():
  other = {'z': 8.0, 'a': {'matrix': np.ones((2, 2)), 'flag': 0}}
  environment = environments.wrap(Foreign(steps=[dm_env.transition(1.0, other)]))
  first = environment.reset().observation
  kept = first.copy()
  assert np.any(environment.step(ZERO).observation != kept)
  np.testing.assert_array_equal(first, kept)


def test_the_rest_of_the_environment_is_reached_through_the_wrapper():
  environment = environments.wrap(Foreign())
  assert environment.robot == 'arm'
  assert copy.deepcopy(environment).reset().first()
  with pytest.raises(AttributeError, match='gripper'):
    _ = environment.gripper


# Actions.


def test_actions_are_clipped_and_scaled_to_the_bounds():
  environment, foreign = _after_reset()
  for canonical, expected in (([0, 0], [1, 1]), ([-1, 1], [-2, 4]), ([-9, 9], [-2, 4])):
    environment.step(np.array(canonical, np.float32))
    np.testing.assert_array_equal(foreign.actions[-1], expected)


BOUNDS = [(-2.8973, 2.8973), (-0.1, 0.7), (1e-3, 3e-3), (-3.0, 0.0), (-6e4, 6e4)]


@pytest.mark.parametrize('dtype', [np.float16, np.float32, np.float64, np.longdouble])
@pytest.mark.parametrize(('low', 'high'), BOUNDS)
def test_an_action_has_the_type_of_its_spec_and_is_never_beyond_its_bounds(
  dtype, low, high
):
  spec = specs.BoundedArray((2,), dtype, [low, -1.0], [high, 1.0])
  environment, foreign = _after_reset(actions=spec)
  assert environment.action_spec().dtype == np.float32
  for value in np.linspace(-1.0, 1.0, 41, dtype=np.float32):
    environment.step(np.full(2, value, np.float32))
    spec.validate(foreign.actions[-1])  # Type and bounds.
  actions = np.array(foreign.actions)
  assert np.all(np.diff(actions, axis=0) > 0)
  np.testing.assert_array_equal(actions[0], spec.minimum)
  np.testing.assert_allclose(actions[-1], spec.maximum, rtol=2 * np.finfo(dtype).eps)


def test_each_action_is_an_array_of_its_own():
  environment, foreign = _after_reset()
  given = np.ones(2, np.float32)
  environment.step(given)
  environment.step(-given)
  assert [action[0] for action in foreign.actions] == [4.0, -2.0]
  assert given[0] == 1.0


@pytest.mark.parametrize('action', [[np.nan, 0.0], [[0.0, 0.0]], [0.0], 0.0])
def test_what_is_no_action_never_reaches_the_environment(action):
  environment, foreign = _after_reset()
  with pytest.raises(ValueError, match='The action'):
    environment.step(np.array(action, np.float32))
  assert not foreign.actions
  environment.step(np.array([np.inf, -np.inf], np.float32))
  assert foreign.actions[0].tolist() == [4.0, -2.0]


# Rewards and discounts.


@pytest.mark.parametrize(
  ('number', 'expected'),
  [
    (2, 2.0),
    (True, 1.0),
    (np.float16(0.5), 0.5),
    (np.float64(0.1), np.float32(0.1)),
    (np.bool_(False), 0.0),
    (np.int64(-3), -3.0),
    (np.array(0.25), 0.25),
    (np.array([0.25]), 0.25),
    ([0.25], 0.25),
    (np.array([[1]], np.uint8), 1.0),
  ],
)
@pytest.mark.parametrize('field', ['reward', 'discount'])
def test_one_number_of_any_type_comes_out_as_float32(field, number, expected):
  step = dm_env.transition(1.0, Foreign()._observation())._replace(**{field: number})
  environment, _ = _after_reset(steps=[step])
  if field == 'discount' and not 0 <= expected <= 1:
    with pytest.raises(config_lib.ConfigError, match=r'discount: .*in \[0, 1\]'):
      environment.step(ZERO)
    return
  value = getattr(environment.step(ZERO), field)
  assert type(value) is np.float32
  assert value == expected


@pytest.mark.parametrize(
  ('value', 'found'),
  [
    (None, 'None'),
    ({'a': 1.0, 'b': 2.0}, "the keys ['a', 'b']"),
    (np.ones(2), 'float64 of shape (2,)'),
    ('much', "'much'"),
    (1j, '1j'),
    ([], 'list of 0'),
    ([1.0, [1.0, 2.0]], 'list of 2'),
  ],
)
@pytest.mark.parametrize('field', ['reward', 'discount'])
def test_what_is_not_one_number_is_named(field, value, found):
  step = dm_env.transition(1.0, Foreign()._observation())._replace(**{field: value})
  environment, _ = _after_reset(steps=[step])
  with pytest.raises(config_lib.ConfigError) as caught:
    environment.step(ZERO)
  assert str(caught.value) == (
    f"The environment's step returned {field}: expected one number, found {found}."
  )


@pytest.mark.parametrize(
  'spec',
  [
    specs.Array((1,), np.float64),
    specs.Array((), np.int64),
    specs.Array((), bool),
    specs.Array((), np.float16),
  ],
)
def test_a_reward_is_one_float32_whatever_its_spec(spec):
  environment = environments.wrap(Foreign(rewards=spec))
  assert environment.reward_spec() == specs.Array((), np.float32)


@pytest.mark.parametrize(
  'spec',
  [specs.Array((2,), float), {'a': specs.Array((), float)}, specs.StringArray(())],
)
def test_a_reward_of_several_parts_is_refused(spec):
  with pytest.raises(config_lib.ConfigError, match='The reward is not one number'):
    environments.wrap(Foreign(rewards=spec))


# Observations.

RAGGED = [[1.0], [1.0, 2.0]]


@pytest.mark.parametrize(
  ('spec', 'good', 'bad', 'where', 'expected', 'found'),
  [
    (VECTOR, ZERO, np.zeros(3), '', 'numbers of shape (2,)', 'float64 of shape (3,)'),
    (VECTOR, ZERO, np.ones((2, 1)), '', 'numbers of shape (2,)', 'float64 of shape (2, '),
    (VECTOR, ZERO, None, '', 'numbers of shape (2,)', 'None'),
    (VECTOR, ZERO, 1.0, '', 'numbers of shape (2,)', '1.0'),
    (VECTOR, ZERO, RAGGED, '', 'numbers of shape (2,)', 'list of 2'),
    (VECTOR, ZERO, {'a': ZERO}, '', 'numbers of shape (2,)', "the keys ['a']"),
    (VECTOR, ZERO, np.array(['a', 'b']), '', 'numbers of shape (2,)', '<U1 of shape'),
    ({'a': VECTOR}, {'a': ZERO}, ZERO, '', "the keys ['a']", 'float32 of shape (2,)'),
    ({'a': VECTOR}, {'a': ZERO}, {'b': ZERO}, '', "the keys ['a']", "['b']"),
    ({'a': VECTOR}, {'a': ZERO}, {'a': 0, 'b': 1}, '', "the keys ['a']", "['a', 'b']"),
    (
      {'a': [VECTOR]},
      {'a': [ZERO]},
      {'a': [np.zeros(1)]},
      "['a'][0]",
      'numbers of shape (2,)',
      'float64 of shape (1,)',
    ),
    ((VECTOR, VECTOR), (ZERO, ZERO), (ZERO,), '', '2 parts', 'tuple of 1'),
    ([VECTOR, VECTOR], [ZERO, ZERO], np.zeros((2, 2)), '', '2 parts', 'float64 of shape'),
  ],
)
@pytest.mark.parametrize('name', ['reset', 'step'])
def test_an_observation_that_is_not_as_its_spec_is_named(
  name, spec, good, bad, where, expected, found
):
  first = dm_env.restart(bad if name == 'reset' else good)
  environment = environments.wrap(
    Foreign(observations=spec, reset=first, steps=[dm_env.transition(1.0, bad)])
  )
  with pytest.raises(config_lib.ConfigError) as caught:
    _step(environment)
  start = f"The environment's {name} returned observation{where}: expected {expected}, "
  assert str(caught.value).startswith(f'{start}found {found}')


def test_what_goes_wrong_later_is_a_fault_and_no_mistake_in_the_environment():
  good = dm_env.transition(1.0, {'a': ZERO})
  bad = [{'a': np.zeros(3)}, {'b': ZERO}, None, {'a': RAGGED}]
  steps = [good, *(good._replace(observation=x) for x in bad), good._replace(reward=None)]
  environment, foreign = _after_reset(
    observations={'a': VECTOR}, reset=dm_env.restart({'a': ZERO}), steps=steps
  )
  assert environment.step(ZERO).mid()
  while foreign._steps:
    with pytest.raises(ValueError, match='step .*: expected .*, found') as caught:
      environment.step(ZERO)
    assert not isinstance(caught.value, config_lib.ConfigError)
  foreign._reset = dm_env.restart({'a': np.zeros(3)})
  with pytest.raises(ValueError, match='reset .*: expected .*, found') as caught:
    environment.reset()
  assert not isinstance(caught.value, config_lib.ConfigError)


@pytest.mark.parametrize(
  ('spec', 'observation', 'expected'),
  [
    (VECTOR, np.array([1, 2]), [1, 2]),
    (VECTOR, [1, True], [1, 1]),
    (VECTOR, np.float16([1, 2]), [1, 2]),
    (specs.Array((), float), np.ones(1), [1]),
    (specs.Array((1,), float), 1, [1]),
    ({'b': VECTOR, 'a': specs.Array((), int)}, {'a': 0, 'b': (1, 2)}, [0, 1, 2]),
    (
      types.MappingProxyType({'b': VECTOR, 'a': VECTOR}),
      collections.OrderedDict(b=[3, 4], a=[1, 2]),
      [1, 2, 3, 4],
    ),
  ],
)
def test_what_is_as_good_as_its_spec_passes(spec, observation, expected):
  environment = environments.wrap(
    Foreign(observations=spec, reset=dm_env.restart(observation))
  )
  assert environment.reset().observation.tolist() == expected


# Kinds of steps.


def test_a_reset_in_the_middle_of_an_episode_is_refused():
  step = dm_env.transition(0.0, Foreign()._observation())
  with pytest.raises(
    config_lib.ConfigError, match='reset returned .* MID, expected FIRST'
  ):
    environments.wrap(Foreign(reset=step)).reset()


def test_an_episode_that_begins_anew_by_itself_is_refused():
  environment, _ = _after_reset(steps=[dm_env.restart(Foreign()._observation())])
  with pytest.raises(config_lib.ConfigError, match='FIRST within an episode'):
    environment.step(ZERO)


def test_a_step_after_the_last_may_begin_an_episode():
  observation = Foreign()._observation()
  steps = [dm_env.termination(1.0, observation), dm_env.restart(observation)]
  environment, _ = _after_reset(steps=steps)
  last = environment.step(ZERO)
  assert (last.last(), last.discount) == (True, 0.0)
  timestep = environment.step(ZERO)
  assert timestep.first()
  assert (timestep.reward, timestep.discount) == (None, None)
  assert environment.step(ZERO).mid()


@pytest.mark.parametrize('name', ['reset', 'step'])
def test_what_is_no_time_step_is_named(name):
  pair = (np.zeros(2), {})
  given = dict(reset=pair) if name == 'reset' else dict(steps=[pair])
  environment = environments.wrap(Foreign(**given))
  with pytest.raises(config_lib.ConfigError, match=f'{name} returned .*not a TimeStep'):
    _step(environment)


# What is refused at once.


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
    ({'arm': specs.BoundedArray((2,), np.float32, -1.0, 1.0)}, None, 'one vector'),
    (specs.BoundedArray((2,), np.int32, -1, 1), None, 'discrete'),
    (None, {'pixels': specs.Array((8, 8, 3), np.uint8)}, 'image'),
    (None, {'mode': specs.DiscreteArray(4)}, 'discrete'),
    (None, {'nothing': specs.Array((0,), np.float32)}, 'empty'),
    (None, {'word': specs.StringArray(())}, 'no number'),
    (None, {'word': 3}, 'no spec'),
    (None, {1: VECTOR, 'a': VECTOR}, 'cannot be sorted'),
  ],
)
def test_unfit_spaces_are_refused_with_a_sentence(action_spec, observation_spec, text):
  with pytest.raises(config_lib.ConfigError, match=text):
    environments.wrap(Foreign(action_spec, observation_spec))


F32, F64 = np.finfo(np.float32).max, np.finfo(np.float64).max


@pytest.mark.parametrize(
  ('dtype', 'low', 'high'),
  [
    (np.float32, -F32, F32),
    (np.float64, -F64, F64),
    (np.float64, -1e10, 1e10),
    (np.float64, 0.0, 1.1e6),
    (np.float64, [-1.0, -1e7], [1.0, 1.0]),
  ],
)
def test_bounds_that_are_as_good_as_none_are_refused(dtype, low, high):
  spec = specs.BoundedArray((2,), dtype, low, high)
  with pytest.raises(config_lib.ConfigError, match='beyond 1e.06.* useful actions lie'):
    environments.wrap(Foreign(spec))


def test_a_foreign_interface_is_refused_with_the_adapter():
  class Gym:
    action_space = None

  adapter = r'Give wrap\(environments.from_gymnasium\('
  with pytest.raises(config_lib.ConfigError, match=f'Gym is not a dm_env.* {adapter}'):
    environments.wrap(Gym())
  with pytest.raises(config_lib.ConfigError, match='int is not a dm_env.Environment.$'):
    environments.wrap(3)
