"""Diagnostics against returns counted by hand, closed forms and the simulator."""

import dataclasses
import types

from acme import specs
import dm_env
import numpy as np
import pytest
import tensorflow as tf

from acme_dsdpg import config as config_lib
from acme_dsdpg import networks as networks_lib
from acme_dsdpg.analysis import diagnosis, simulation

CONFIG = config_lib.DSDPGConfig(discount=0.5, n_step=2, targets='reconstructed')


def _policy(observation):
  return np.tanh(observation[:1]).astype(np.float32)


def test_saturation_counts_coordinates_near_either_bound():
  first = dict(action=np.array([[1.0, -0.96], [0.94, 0.0]]))
  second = dict(action=np.array([[-1.0, 0.2]]))
  assert diagnosis.saturation([first, second]) == pytest.approx(3 / 6)
  assert diagnosis.saturation([first, second], 0.1) == pytest.approx(4 / 6)


def test_obtained_returns_are_discounted_to_the_end():
  episode = dict(reward=[1.0, 2.0, 4.0], discount=[1.0, 1.0, 0.0])
  np.testing.assert_allclose(diagnosis.obtained_returns(episode, 0.5), [3.0, 4.0, 4.0])
  cut = dict(reward=[1.0, 2.0], discount=[0.0, 1.0])
  np.testing.assert_allclose(diagnosis.obtained_returns(cut, 0.5), [1.0, 2.0])


def test_returns_that_a_time_limit_cuts_short_are_left_out():
  networks = types.SimpleNamespace(
    normalizer=lambda x: x, critic=lambda s, a, noise: s[:, 0] + a[:, 0] * noise[:, 0]
  )
  config = config_lib.DSDPGConfig(discount=0.5)
  assert diagnosis.horizon(0.5) == 4
  time = np.arange(11, dtype=np.float32)[:, np.newaxis]
  episode = dict(
    observation=time, action=np.ones([10, 1], np.float32), reward=np.ones(10)
  )
  for last, num_steps in ((1.0, 6), (0.0, 10)):
    episode['discount'] = np.r_[np.ones(9), last]
    predicted, obtained, gradients = diagnosis.compare_returns(
      networks, config, [episode], every=1
    )
    assert len(obtained) == len(predicted) == num_steps
    # z = s + a noise, dz/da = noise.
    np.testing.assert_allclose(
      predicted - time[:num_steps], gradients[..., 0], rtol=1e-5, atol=1e-5
    )


def test_a_model_that_is_right_has_no_error_and_one_of_the_mean_has_one():
  rng = np.random.default_rng(0)
  observation = rng.normal(size=[30, 2]).astype(np.float32)
  reward = rng.normal(size=29).astype(np.float32)
  episode = dict(
    observation=observation, action=np.zeros([29, 1], np.float32), reward=reward
  )
  returns, later = reward[:-1] + 0.5 * reward[1:], observation[2:]

  class Latent:
    def __init__(self, exact):
      self.exact = exact

    def sample(self, *args, seed):
      return self.exact

  def decode(s, a, exact):
    if exact:
      return tf.constant(returns), tf.constant(later)
    return tf.fill(28, returns.mean()), tf.repeat(later.mean(0)[np.newaxis], 28, 0)

  networks = types.SimpleNamespace(
    normalizer=lambda x: x,
    world_model=types.SimpleNamespace(
      encode=lambda *args: Latent(True), prior=lambda: Latent(False), decode=decode
    ),
  )
  reconstructed, drawn = diagnosis.model_errors(networks, CONFIG, [episode])
  np.testing.assert_allclose(reconstructed, np.zeros(3), atol=1e-12)
  np.testing.assert_allclose(drawn, np.ones(3), rtol=1e-5)


def test_a_simulated_value_is_that_of_the_steps_really_taken():
  simulator = simulation.Simulator('cartpole', 'balance', seed=2)
  environment = simulator.environment
  timestep = environment.reset()
  for _ in range(20):
    timestep = environment.step(_policy(timestep.observation))
  state, action = simulator.state(), np.array([0.7], np.float32)
  rewards, timestep = [], environment.step(action)
  for _ in range(30):
    rewards.append(timestep.reward)
    observation = timestep.observation
    timestep = environment.step(_policy(observation))
  expected = np.sum(0.9 ** np.arange(30) * rewards)
  for _ in range(2):  # It is set back each time.
    returned, *end = simulator.rollout(state, action, _policy, 0.9, 30)
    np.testing.assert_allclose(returned, expected, rtol=1e-5)
    np.testing.assert_allclose(end, observation, atol=1e-5)
  after = simulator.outcome(state, [action, action], 0.9)
  assert after.shape == (1 + 5,)


def test_gradients_are_differences_of_simulated_rewards_and_the_value_after_them():
  slope = np.array([[1.0, -2.0], [0.5, 3.0]])

  class Simulator:
    """Whose returns are quadratic in the action: its slope there is in closed form."""

    def __init__(self):
      self.environment = Environment()

    def state(self):
      return self.environment.time

    def outcome(self, state, actions, discount):
      return np.array([0.0, state + 1.0])

    def rollout(self, state, action, policy, discount, num_steps):
      assert discount == 0.5
      assert num_steps == 3
      return np.array([action @ slope @ action + 5.0 * state, 8.0 * action[1]])

  networks = types.SimpleNamespace(
    normalizer=lambda x: 2.0 * x,
    policy=lambda s: tf.concat([0.5 * s, tf.zeros_like(s)], axis=1),
    critic=lambda s, a, noise: a[:, 0] + 4.0 * a[:, 1] + 6.0 * s[:, 0] + noise[:, 0],
  )
  policy = lambda observation: np.array([0.3, -0.99], np.float32)
  config = config_lib.DSDPGConfig(discount=0.5, sigma=0.0)
  parts = diagnosis.compare_gradients(
    networks, config, Simulator(), policy, 2, num_steps=3, every=3
  )
  np.testing.assert_allclose(parts['critic'], [[1.0, 4.0]] * 2)
  # Drawn in, so that no difference leaves the bounds. Half a step's curvature to each
  # side, and 0.5^3 of the value, whose noise is the same everywhere: of 6 s and of the
  # policy's 0.5 s, s being twice the observation.
  expected = (slope + slope.T) @ [0.3, -0.9] + [0.0, 0.125 * 6.5 * 2.0 * 8.0]
  for side, curvature in (('forward', 0.1), ('backward', -0.1)):
    np.testing.assert_allclose(
      parts[side], [expected + curvature * np.diag(slope)] * 2, rtol=1e-4
    )


def test_a_targets_gradient_is_the_difference_of_its_value_and_the_models_its_own():
  simulator = simulation.Simulator('cartpole', 'balance', seed=1)
  config = config_lib.DSDPGConfig(critic='point', discount=0.9, hidden_sizes=(16, 16))
  spec = specs.make_environment_spec(simulator.environment)
  networks = networks_lib.make_networks(spec, config)
  networks.normalizer.variance.assign([0.5, 1.0, 2.0, 3.0, 4.0])
  for variable in networks.policy.variables:
    variable.assign_add(0.2 * np.random.default_rng(0).normal(size=variable.shape))
  policy = lambda s: networks.make_acting_policy()(s[np.newaxis]).numpy()[0]
  parts = diagnosis.compare_targets(networks, config, simulator, policy, 3, every=5)

  # The same states again.
  simulator = simulation.Simulator('cartpole', 'balance', seed=1)
  states, _, actions = diagnosis._visit(simulator, policy, 3, 5, config.sigma, 0)

  def target(state, action):
    reward, *raw = simulator.outcome(state, [action], 0.9)
    raw = np.array([raw], np.float32)
    z = diagnosis.critic_samples(networks, config, raw, policy(raw[0])[np.newaxis])
    return np.array([reward, 0.9 * z[..., 0].mean()])

  step = np.array([0.1])
  for i, (state, action) in enumerate(zip(states, actions)):
    rise = (target(state, action + step) - target(state, action - step)) / 0.2
    np.testing.assert_allclose(parts['reward'][i, 0], rise[0], rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(parts['bootstrap'][i, 0], rise[1], rtol=0.05)

  class Exact:
    """A model of the simulator's derivative in these states, of normalised outcomes."""

    def encode(self, s, a, r, next_s):
      return types.SimpleNamespace(sample=lambda seed: (a.numpy(), r, next_s))

    def decode(self, s, a, latent):
      at, reward, next_s = latent
      return reward + rewards[:, 0] * (a - at)[:, 0], next_s + rises * (a - at)

  rewards, deviation = parts['reward'], np.sqrt(networks.normalizer.variance.numpy())
  ends = [
    [simulator.outcome(s, [a + sign * step], 0.9)[1:] for s, a in zip(states, actions)]
    for sign in (1.0, -1.0)
  ]
  rises = np.float32((np.array(ends[0]) - np.array(ends[1])) / 0.2 / deviation)
  networks.world_model = Exact()
  simulator = simulation.Simulator('cartpole', 'balance', seed=1)
  parts = diagnosis.compare_targets(networks, config, simulator, policy, 3, every=5)
  for name in ('reward', 'bootstrap'):
    np.testing.assert_allclose(parts[f'model_{name}'], parts[name], rtol=1e-3, atol=1e-6)


def test_of_two_point_critics_and_one_dropped_the_target_is_the_smaller_ones():
  config = config_lib.DSDPGConfig(critic='point', discount=0.9, hidden_sizes=(16, 16))
  spec = specs.make_environment_spec(
    simulation.Simulator('cartpole', 'balance').environment
  )
  two = dataclasses.replace(config, num_critics=2, num_dropped_samples=1)
  networks = networks_lib.make_networks(spec, two)
  members = networks.critic.members
  policy = lambda s: networks.make_acting_policy()(s[np.newaxis]).numpy()[0]
  compare = lambda networks, config: diagnosis.compare_targets(
    networks, config, simulation.Simulator('cartpole', 'balance', seed=1), policy, 6, 40
  )['bootstrap']
  pooled = compare(networks, two)
  alone = [
    compare(dataclasses.replace(networks, critic=member), config) for member in members
  ]
  assert not np.allclose(*alone)
  ours = [np.isclose(pooled, x, rtol=1e-4, atol=1e-7) for x in alone]
  assert np.all(ours[0] | ours[1])


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


@pytest.mark.parametrize(
  'task', ['reacher-easy', 'finger-turn_easy', 'ball_in_cup-catch']
)
def test_the_simulator_is_set_back_to_earlier_episodes(task):
  simulator = simulation.Simulator(*task.split('-'), seed=0)
  environment, rng = simulator.environment, np.random.default_rng(0)
  size = environment.action_spec().shape
  visited = []
  for _ in range(3):  # The reset moves the target, if there is one.
    environment.reset()
    for _ in range(20):
      state, action = simulator.state(), rng.uniform(-1, 1, size).astype(np.float32)
      timestep = environment.step(action)
    visited.append((state, action, [timestep.reward, *timestep.observation]))
  for state, action, observed in visited:
    np.testing.assert_allclose(
      simulator.outcome(state, [action], 1.0), observed, atol=1e-6
    )


def test_a_task_that_cannot_be_set_back_is_refused(monkeypatch):
  # The reset moves the target, here no part of the state.
  monkeypatch.setattr(simulation, '_PLACED', ())
  simulator = simulation.Simulator('reacher', 'easy', seed=0)
  networks = types.SimpleNamespace(
    normalizer=lambda x: x, critic=lambda s, a, noise: a[:, 0] + s[:, 0]
  )
  policy = lambda observation: np.zeros(2, np.float32)
  with pytest.raises(config_lib.ConfigError, match='does not replay'):
    diagnosis.compare_gradients(
      networks, config_lib.DSDPGConfig(discount=0.5), simulator, policy, 2, 1, every=600
    )


def test_cosines():
  a, b = np.array([[1.0, 0.0], [3.0, 4.0]]), np.array([[0.0, 2.0], [-6.0, -8.0]])
  np.testing.assert_allclose(diagnosis.cosines(a, b), [0.0, -1.0])
