"""Derivatives compared with the simulator's: closed forms, and the simulator itself."""

import types

from acme import specs
import dm_env
import numpy as np
import pytest
import tensorflow as tf

from acme_dsdpg import config as config_lib
from acme_dsdpg import networks as networks_lib
from acme_dsdpg.analysis import (
  diagnosis,
  diagnosis_report,
  gradients,
  simulation,
  trained_agent,
)
from tests.analysis.critics import NoisyCritic

SLOPE = np.array([[1.0, -2.0], [0.5, 3.0]])


class Environment(dm_env.Environment):
  """Counts its steps."""

  def reset(self):
    self.time = 0.0
    return dm_env.restart(np.array([self.time], np.float32))

  def step(self, action):
    self.time += 1.0
    return dm_env.transition(1.0, np.array([self.time], np.float32))

  def observation_spec(self):
    return None

  def action_spec(self):
    return None


class QuadraticSimulator:
  """Whose returns are quadratic in the first action: its slope is in closed form."""

  def __init__(self):
    self.environment = Environment()

  def state(self):
    return self.environment.time

  def outcome(self, state, actions, discount):
    later = sum(action.sum() for action in actions[1:])
    return np.array([actions[0] @ SLOPE @ actions[0] + later, state + len(actions)])

  def rollout(self, state, action, policy, discount, num_steps):
    assert discount == 0.5
    for step in range(1, num_steps):
      policy(np.array([state + step], np.float32))
    return np.array([action @ SLOPE @ action + 5.0 * state, 8.0 * action[1]])


def _quadratic_agent(**config):
  networks = types.SimpleNamespace(
    normalizer=lambda x: 2.0 * x,
    policy=lambda s: tf.concat([0.5 * s, tf.zeros_like(s)], axis=1),
    critic=NoisyCritic(
      lambda s, a, noise: a[:, 0] + 4.0 * a[:, 1] + 6.0 * s[:, 0] + noise[:, 0]
    ),
  )
  policy = lambda observation: np.array([0.3, -0.99], np.float32)
  config = {'critic': 'samples', 'discount': 0.5, 'sigma': 0.0, **config}
  config = config_lib.DSDPGConfig(**config)
  return trained_agent.TrainedAgent(config, networks, policy)


def test_gradients_are_differences_of_simulated_rewards_and_the_value_after_them():
  agent, simulator = _quadratic_agent(), QuadraticSimulator()
  visited = gradients.visit(agent, simulator, 2, every=3)
  assert visited.states == [2.0, 5.0]
  parts = gradients.compare_returns(agent, simulator, visited, num_steps=3)
  np.testing.assert_allclose(parts['critic'], [[1.0, 4.0]] * 2)
  # Drawn in, so that no difference leaves the bounds. Half a step's curvature to each
  # side, and 0.5^3 of the value, whose noise is the same everywhere: of 6 s and of the
  # policy's 0.5 s, s being twice the observation.
  expected = (SLOPE + SLOPE.T) @ [0.3, -0.9] + [0.0, 0.125 * 6.5 * 2.0 * 8.0]
  for side, curvature in (('forward', 0.1), ('backward', -0.1)):
    np.testing.assert_allclose(
      parts[side], [expected + curvature * np.diag(SLOPE)] * 2, rtol=1e-4
    )


def test_slopes_over_the_noise_are_derivatives_where_returns_are_quadratic():
  agent, simulator = _quadratic_agent(sigma=0.05), QuadraticSimulator()
  visited = gradients.visit(agent, simulator, 2, every=3)
  parts = gradients.compare_slopes(agent, simulator, visited, num_steps=3)
  np.testing.assert_allclose(parts['critic'], [[1.0, 4.0]] * 2)
  derivative = (SLOPE + SLOPE.T) @ visited.action.T + [[0.0], [0.125 * 6.5 * 2.0 * 8.0]]
  np.testing.assert_allclose(parts['slope'], derivative.T, rtol=1e-2)
  text = diagnosis_report.of_slopes(3, parts)
  assert 'over exploration noise, 3 simulated steps and the value then: cosine' in text


class _Kinked(QuadraticSimulator):
  """Returns that are |a_0 - 0.3| + 2 a_1."""

  def rollout(self, state, action, policy, discount, num_steps):
    return np.array([abs(action[0] - 0.3) + 2.0 * action[1], 0.0])


def test_a_kink_has_no_slope_where_the_noise_is_of_both_sides():
  agent = _quadratic_agent(sigma=0.05)
  visited = gradients.visit(agent, QuadraticSimulator(), 1, every=3)
  visited = visited._replace(action=np.array([[0.3, 0.0]], np.float32))
  parts = gradients.compare_slopes(agent, _Kinked(), visited, num_steps=1)
  np.testing.assert_allclose(parts['slope'], [[0.0, 2.0]], atol=1e-3)


def test_a_model_is_compared_over_the_steps_that_it_spans():
  agent = _quadratic_agent(targets='reconstructed', n_step=3)
  encoded = []

  def encode(observation, action, reward, next_observation):
    encoded.append((observation, action, reward, next_observation))
    return types.SimpleNamespace(sample=lambda n, seed: tf.ones([n, len(reward), 2]))

  agent.networks.world_model = types.SimpleNamespace(
    encode=encode,
    decode=lambda s, a, latent: (
      7.0 * a[:, 0] * latent[:, 0],
      tf.concat([s + 3.0 * a[:, 1:]], 1),
    ),
  )
  simulator = QuadraticSimulator()
  visited = gradients.visit(agent, simulator, 2, every=3)
  learned, simulated = gradients.compare_model(agent, simulator, visited)
  np.testing.assert_allclose(learned, [[[7.0, 0.0], [0.0, 3.0]]] * 2)
  slope = (SLOPE + SLOPE.T) @ [0.3, -0.9]
  np.testing.assert_allclose(simulated[..., 0], [slope] * 2, rtol=1e-3)
  np.testing.assert_allclose(simulated[..., 1], np.zeros([2, 2]))
  # What it infers the latent from: three steps, the later actions not drawn in.
  ((observation, action, reward, next_observation),) = encoded
  np.testing.assert_allclose(observation, [[4.0], [10.0]])
  np.testing.assert_allclose(action, [[0.3, -0.9]] * 2, rtol=1e-6)
  first = np.array([0.3, -0.9]) @ SLOPE @ [0.3, -0.9]
  np.testing.assert_allclose(reward, [first + 2 * (0.3 - 0.99)] * 2, rtol=1e-5)
  np.testing.assert_allclose(next_observation, [[10.0], [16.0]])
  text = diagnosis_report.of_model(3, learned, simulated)
  assert 'ds+/da of the world model, 3 steps ahead, against the simulator' in text
  assert len(text.splitlines()) == 2


class LinearModel:
  """A world model with given derivatives: dR/da [N, A] and ds+/da [N, A, S]."""

  def __init__(self, dr_da, ds_da):
    self._dr_da, self._ds_da = np.float32(dr_da), np.float32(ds_da)

  def encode(self, observation, action, reward, next_observation):
    self._at = [np.array(x) for x in (action, reward, next_observation)]
    return types.SimpleNamespace(sample=lambda n, seed: tf.zeros([n, 1]))

  def decode(self, observation, action, latent):
    at, reward, next_observation = self._at
    change = action - at
    return (
      reward + tf.reduce_sum(self._dr_da * change, axis=1),
      next_observation + tf.einsum('na,nas->ns', change, self._ds_da),
    )


def _cartpole_agent(simulator):
  config = config_lib.DSDPGConfig(
    critic='features', num_features=4, discount=0.9, hidden_sizes=(16, 16),
    world_model_hidden_sizes=(16,),
  )  # fmt: skip
  spec = specs.make_environment_spec(simulator.environment)
  networks = networks_lib.make_networks(spec, config)
  networks.normalizer.variance.assign([0.5, 1.0, 2.0, 3.0, 4.0])
  for variable in networks.policy.variables:
    variable.assign_add(0.2 * np.random.default_rng(0).normal(size=variable.shape))
  acting = tf.function(networks.make_acting_policy())
  policy = lambda observation: acting(observation[np.newaxis]).numpy()[0]
  return trained_agent.TrainedAgent(config, networks, policy)


def test_a_targets_gradient_is_the_difference_of_its_value_and_the_models_its_own():
  simulator = simulation.Simulator('cartpole', 'balance', seed=1)
  agent = _cartpole_agent(simulator)
  networks, policy = agent.networks, agent.policy
  visited = gradients.visit(agent, simulator, 3, every=5)
  parts = gradients.compare_targets(agent, simulator, visited)

  def target(state, action):
    reward, *raw = simulator.outcome(state, [action], 0.9)
    raw = np.array([raw], np.float32)
    h = networks.critic(networks.normalizer(raw), policy(raw[0])[np.newaxis])
    return np.array([reward, 0.9 * h[0, 0]])  # The mean return.

  step = np.array([0.1])
  for i, (state, action) in enumerate(zip(visited.states, visited.action)):
    rise = (target(state, action + step) - target(state, action - step)) / 0.2
    np.testing.assert_allclose(parts['reward'][i, 0], rise[0], rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(parts['bootstrap'][i, 0], rise[1], rtol=0.05)

  # A model with the simulator's derivatives has its target's, and one that has been
  # initialized only has none of them.
  learned, simulated = gradients.compare_model(agent, simulator, visited)
  assert not np.allclose(learned, simulated, rtol=0.1)
  networks.world_model = LinearModel(simulated[..., 0], simulated[..., 1:])
  learned, again = gradients.compare_model(agent, simulator, visited)
  np.testing.assert_array_equal(again, simulated)
  np.testing.assert_allclose(learned, simulated, rtol=1e-4, atol=1e-6)
  parts = gradients.compare_targets(agent, simulator, visited)
  for name in ('reward', 'bootstrap'):
    np.testing.assert_allclose(parts[f'model_{name}'], parts[name], rtol=1e-3, atol=1e-6)


def test_every_comparison_is_said():
  simulator = simulation.Simulator('cartpole', 'balance', seed=1)
  agent = _cartpole_agent(simulator)
  text = '\n'.join(diagnosis_report.of_simulator(agent, simulator, 1, 2, 3, seed=0))
  lines = text.splitlines()
  assert [line for line in lines if 'simulated steps and the value then' in line] == (
    lines[:8]
  )
  for said in (
    'dz/da against 100 simulated steps',
    'the differences to both sides: cosine, median',
    'the slopes of either half of the noise: cosine, median',
    "dz/da against the one-step target's by the simulator",
    "the target's by the model, by the simulator: cosine",
    'medians by the model',
    'ds+/da of the world model, 1 step ahead, against the simulator: cosine, median',
    'dR/da of the world model',
  ):
    assert said in text
  assert not list(diagnosis_report.of_simulator(agent, simulator, 0, 0, 0, seed=0))


def test_a_task_that_cannot_be_set_back_is_refused(monkeypatch):
  # The reset moves the target, here no part of the state.
  monkeypatch.setattr(simulation, '_PLACED', ())
  simulator = simulation.Simulator('reacher', 'easy', seed=0)
  policy = lambda observation: np.zeros(2, np.float32)
  agent = trained_agent.TrainedAgent(config_lib.DSDPGConfig(), None, policy)
  with pytest.raises(config_lib.ConfigError, match='does not replay'):
    gradients.visit(agent, simulator, 2, every=600)


def test_agreement_is_of_directions_and_sizes():
  a, b = np.array([[1.0, 0.0], [3.0, 4.0]]), np.array([[0.0, 2.0], [-6.0, -8.0]])
  np.testing.assert_allclose(gradients.cosines(a, b), [0.0, -1.0])
  expected = 'cosine, median -0.50, quartiles -0.75 to -0.25, relative size, median 0.50'
  assert diagnosis_report.agreement(a, b) == expected
  assert diagnosis_report.agreement(a[..., np.newaxis], b[..., np.newaxis]) == expected
  assert 'size, median inf' in diagnosis_report.agreement(a, np.zeros([2, 2]))


def test_a_model_spans_one_step_or_all():
  make = lambda **values: config_lib.DSDPGConfig(n_step=3, **values)
  assert diagnosis.model_steps(make()) == 1
  papers = make(targets='reconstructed', predictive_critic=False)
  assert diagnosis.model_steps(papers) == 3
