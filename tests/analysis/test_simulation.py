"""The simulator set back: it gives what the environment gave."""

import numpy as np
import pytest

from acme_dsdpg import config as config_lib
from acme_dsdpg.analysis import simulation


def _policy(observation):
  return np.tanh(observation[:1]).astype(np.float32)


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


@pytest.mark.parametrize(
  ('field', 'value'), [('action_noise', 0.1), ('action_repeat', 2)]
)
def test_a_run_whose_environment_is_not_the_simulator_is_refused(field, value):
  config = config_lib.ExperimentConfig(env='cartpole', **{field: value})
  with pytest.raises(config_lib.ConfigError, match=f'{field}={value}'):
    simulation.make_simulator(config, seed=0)
