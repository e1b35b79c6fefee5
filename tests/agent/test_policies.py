"""Policies in NumPy against TensorFlow's."""

from acme import specs
import numpy as np
import pytest

from acme_dsdpg.agent import agents, policies, presets

S, A = 5, 3
SPEC = specs.EnvironmentSpec(
  observations=specs.Array((S,), np.float32),
  actions=specs.BoundedArray((A,), np.float32, [-1.0, -2.0, 0.0], [1.0, 3.0, 0.5]),
  rewards=specs.Array((), np.float32),
  discounts=specs.BoundedArray((), np.float32, 0.0, 1.0),
)


def _make(**overrides):
  """A builder, and an acting policy with weights that leave nothing near 0 or 1."""
  config = presets.make_config(overrides)
  builder = agents.make_builder(config.agent, config.dsdpg)
  policy = builder.make_networks(SPEC).make_acting_policy()
  rng = np.random.default_rng(0)
  for variable in policy.variables:
    variable.assign(np.abs(variable) + 0.1 * rng.normal(size=variable.shape) ** 2)
  for variable in policy.trainable_variables:
    variable.assign_sub(0.1 * np.abs(rng.normal(size=variable.shape)))
  return builder, policy


def _observations():
  return np.float32(1.0 + 5.0 * np.random.default_rng(1).normal(size=(20, S)))


@pytest.mark.parametrize(
  'overrides',
  [
    *({'agent': agent} for agent in presets.AGENTS),
    {'layer_norm': False},
    {'layer_norm': False, 'hidden_sizes': (7,)},
    {'hidden_sizes': (7,)},
    {'hidden_sizes': (8, 8, 4, 4)},
    {'hidden_sizes': (S, S)},  # A residual of the input.
    {'normalize_observations': False},
  ],
  ids=str,
)
def test_actions_are_tensorflows_one_by_one_and_in_batches(overrides):
  builder, policy = _make(**overrides)
  acts, observations = builder.make_behavior_policy(SPEC, policy), _observations()
  expected = np.asarray(policy(observations))
  inside = np.abs(expected - [0.0, 0.5, 0.25]) < [0.999, 2.499, 0.2499]
  assert np.mean(inside) > 0.05  # Not all are saturated.
  actual = acts(observations)
  assert actual.dtype == np.float32
  np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)
  for observation, action in zip(observations, expected):
    np.testing.assert_allclose(acts(observation), action, rtol=1e-4, atol=1e-5)


def test_weights_are_those_of_the_last_refresh():
  builder, policy = _make(agent='ddpg')
  acts, observations = builder.make_behavior_policy(SPEC, policy, seed=0), _observations()
  before = policies.ExploringPolicy(
    builder.make_behavior_policy(SPEC, policy), 0.3, SPEC.actions, seed=0
  )(observations)
  for variable in policy.variables:
    variable.assign_add(0.1 * np.ones(variable.shape))
  np.testing.assert_array_equal(acts(observations), before)
  acts.refresh()
  assert np.max(np.abs(acts(observations) - before)) > 0.1


def test_exploration_follows_from_its_seed_and_stays_within_the_bounds():
  builder, policy = _make(agent='ddpg', sigma=2.0)
  first, same, other = (
    builder.make_behavior_policy(SPEC, policy, seed)(_observations())
    for seed in (0, 0, 1)
  )
  np.testing.assert_array_equal(first, same)
  assert np.max(np.abs(first - other)) > 0.5
  for action in (first, other):
    assert np.all(action >= SPEC.actions.minimum)
    assert np.all(action <= SPEC.actions.maximum)
