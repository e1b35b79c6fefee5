"""Derivatives of a trained critic and world model, against the simulator's."""

from typing import Dict, List, NamedTuple, Sequence, Tuple

import numpy as np
import tensorflow as tf

from acme_dsdpg import config as config_lib
from acme_dsdpg.analysis import diagnosis, simulation
from acme_dsdpg.analysis.trained_agent import TrainedAgent
from acme_dsdpg.losses import jacobians

_NUM_LATENTS = 20  # Of the world model, at each transition.
_STEP = 0.1  # Of the finite differences, actions in [-1, 1].
# Pairs of opposite moves of an action, for a slope: at least, and for each coordinate.
_NUM_PAIRS, _NUM_PAIRS_EACH = 40, 4


class Visited(NamedTuple):
  """States along episodes with exploration noise, and the actions there.

  Attributes:
    states: N of the simulator.
    observation: [N, S].
    action: [N, A], drawn in so that no finite difference leaves the bounds.
  """

  states: List[simulation.State]
  observation: np.ndarray
  action: np.ndarray


def visit(
  agent: TrainedAgent,
  simulator: simulation.Simulator,
  num_states: int,
  every: int = 15,
  seed: int = 0,
) -> Visited:
  """Acts, and keeps every so many-th state.

  Args:
    agent: the trained agent.
    simulator: of its task.
    num_states: N.
    every: steps between two of the states.
    seed: of the exploration noise.

  Raises:
    ConfigError: the simulator cannot be set back to these states.
  """
  environment, rng = simulator.environment, np.random.default_rng(seed)
  timestep = environment.reset()
  states, observations, actions, followed = [], [], [], []
  while len(states) < num_states:
    for _ in range(every):
      if timestep.last():
        timestep = environment.reset()
      observation = timestep.observation
      action = diagnosis.explore(agent.policy(observation), agent.config.sigma, rng)
      state = simulator.state()
      timestep = environment.step(action)
    states.append(state)
    observations.append(observation)
    actions.append(action)
    followed.append(timestep.observation)
  for state, action, observation in zip(states, actions, followed):
    again = simulator.outcome(state, [action], 1.0)[1:]
    if not np.allclose(again, observation, atol=1e-3):
      raise config_lib.ConfigError(
        'The simulator does not replay this task: it holds more than can be set back.'
      )
  action = np.clip(actions, _STEP - 1.0, 1.0 - _STEP).astype(np.float32)
  return Visited(states, np.array(observations), action)


def compare_returns(
  agent: TrainedAgent,
  simulator: simulation.Simulator,
  visited: Visited,
  num_steps: int,
) -> Dict[str, np.ndarray]:
  """Compares the critic's mean dz/da with differences of returns simulated anew.

  Of `num_steps` rewards, the policy's after the first action, and of the critic's own
  mean return where they end. One-sided differences: where the forward ones and the
  backward ones do not agree, the return has no slope of that width to be learned.

  Returns:
    [N, A] each: 'critic', 'forward', 'backward'.
  """
  num_actions = visited.action.shape[1]
  moves = _STEP * np.eye(num_actions)
  moves = np.concatenate([np.zeros([1, num_actions]), moves, -moves])
  returns = _simulated_returns(
    agent, simulator, visited.states, visited.action[:, np.newaxis] + moves, num_steps
  )
  still, forward, backward = np.split(returns, [1, 1 + num_actions], axis=1)
  return {
    'critic': _critic_gradient(agent, visited),
    'forward': (forward - still) / _STEP,
    'backward': (still - backward) / _STEP,
  }


def compare_slopes(
  agent: TrainedAgent,
  simulator: simulation.Simulator,
  visited: Visited,
  num_steps: int,
  seed: int = 0,
) -> Dict[str, np.ndarray]:
  """Compares the critic's mean dz/da with the slope of returns over exploration noise.

  Returns as in `compare_returns`, of actions moved by the agent's exploration noise, to
  opposite sides; their differences are regressed on the moves. What an improvement of
  the policy would follow, where derivatives at a point say little: through contacts they
  are large and change from one step's width to the next.

  Returns:
    [N, A] each: 'critic', 'slope', and 'halves' [2, N, A], the slopes of either half of
    the noise. The slope is at least as reliable as those agree.
  """
  (num_states, num_actions), rng = visited.action.shape, np.random.default_rng(seed)
  num_pairs = max(_NUM_PAIRS, _NUM_PAIRS_EACH * num_actions)
  noise = rng.normal(size=[num_states, num_pairs, num_actions]) * agent.config.sigma
  at = visited.action[:, np.newaxis]
  ends = [np.clip(at + sign * noise, -1.0, 1.0) for sign in (1.0, -1.0)]
  moves = ends[0] - ends[1]
  forward, backward = (
    _simulated_returns(agent, simulator, visited.states, end, num_steps) for end in ends
  )

  def slope(part):
    pairs = zip(moves[:, part], (forward - backward)[:, part])
    return np.array([np.linalg.lstsq(*pair, rcond=None)[0] for pair in pairs])

  return {
    'critic': _critic_gradient(agent, visited),
    'slope': slope(slice(None)),
    'halves': np.array([slope(slice(0, None, 2)), slope(slice(1, None, 2))]),
  }


def compare_targets(
  agent: TrainedAgent, simulator: simulation.Simulator, visited: Visited
) -> Dict[str, np.ndarray]:
  """Compares the critic's mean dz/da with the target's, dR/da + gamma (ds+/da)^T dv/ds+.

  Of one step, v being the online critic's mean return under the online policy: what the
  critic would have to learn if it were right about v, and what the world model would
  tell it.

  Returns:
    [N, A] each: 'critic'; 'reward' and 'bootstrap', the target's two parts with the
    derivatives of the simulator; with a one-step world model 'model_reward' and
    'model_bootstrap', the same with its own.
  """
  config = agent.config
  actions = visited.action[:, np.newaxis]
  outcomes = _outcomes(simulator, visited.states, actions, config.discount)
  raw = tf.constant(outcomes[:, 1:])
  with tf.GradientTape() as tape:
    tape.watch(raw)
    next_observation = agent.networks.normalizer(raw)
    value = _mean_return(agent, next_observation)
  by_raw, by_normalised = tape.gradient(value, [raw, next_observation])

  def parts(jacobian, dv_ds, prefix):
    through = np.einsum('nas,ns->na', jacobian[..., 1:], dv_ds)
    return {
      f'{prefix}reward': jacobian[..., 0],
      f'{prefix}bootstrap': config.discount * through,
    }

  jacobian = _simulated_jacobian(simulator, visited.states, actions, config.discount)
  result = {'critic': _critic_gradient(agent, visited), **parts(jacobian, by_raw, '')}
  if agent.networks.world_model is not None and config.one_step_model:
    learned = _model_jacobian(agent, visited, outcomes)
    result.update(parts(learned, by_normalised, 'model_'))
  return result


def compare_model(
  agent: TrainedAgent, simulator: simulation.Simulator, visited: Visited, seed: int = 0
) -> Tuple[np.ndarray, np.ndarray]:
  """Compares d[R ; s+]/da of the world model with the simulator's.

  Over the steps that the model spans: the later actions are the policy's with
  exploration noise, and are kept while the first one is moved.

  Args:
    agent: the trained agent, which has a world model.
    simulator: of its task.
    visited: where the transitions begin.
    seed: of the exploration noise.

  Returns:
    [N, A, 1 + S] each, of normalised observations: the model's, and the simulator's.
  """
  config, rng = agent.config, np.random.default_rng(seed)
  span = diagnosis.model_steps(config)

  def follow(state, action):
    actions = [action]

    def choose(observation):
      actions.append(diagnosis.explore(agent.policy(observation), config.sigma, rng))
      return actions[-1]

    simulator.rollout(state, action, choose, config.discount, span)
    return actions

  actions = [follow(*pair) for pair in zip(visited.states, visited.action)]
  outcomes = _outcomes(simulator, visited.states, actions, config.discount)
  simulated = _simulated_jacobian(simulator, visited.states, actions, config.discount)
  raw = tf.constant(outcomes[:, 1:])
  with tf.GradientTape() as tape:
    tape.watch(raw)
    normalised = agent.networks.normalizer(raw)  # Each coordinate by itself.
  simulated[..., 1:] *= tape.gradient(normalised, raw).numpy()[:, np.newaxis]
  return _model_jacobian(agent, visited, outcomes), simulated


def _simulated_returns(
  agent: TrainedAgent,
  simulator: simulation.Simulator,
  states: Sequence[simulation.State],
  actions: np.ndarray,
  num_steps: int,
) -> np.ndarray:
  """Returns after each of P actions [N, P, A] in its state: [N, P].

  Of `num_steps` rewards, the policy's after the first action, and of the critic's own
  mean return where they end.
  """
  discount, normalizer = agent.config.discount, agent.networks.normalizer
  ends = [
    simulator.rollout(state, action, agent.policy, discount, num_steps)
    for state, of_state in zip(states, actions)
    for action in of_state
  ]
  ends = np.array(ends, np.float32)
  value = _mean_return(agent, normalizer(tf.constant(ends[:, 1:]))).numpy()
  return (ends[:, 0] + discount**num_steps * value).reshape(actions.shape[:2])


def _critic_gradient(agent: TrainedAgent, visited: Visited) -> np.ndarray:
  """The critic's mean dz/da, [N, A]."""
  normalised = agent.networks.normalizer(tf.constant(visited.observation))
  samples = diagnosis.critic_samples(agent, normalised, tf.constant(visited.action))
  return samples[..., 1:].numpy().mean(1)


def _mean_return(agent: TrainedAgent, normalised: tf.Tensor) -> tf.Tensor:
  """v, [N]: the mean return of the policy's actions."""
  action = agent.networks.policy(normalised)
  if agent.config.critic != 'samples':  # The mean is its own output.
    return agent.networks.critic.coefficients(normalised, action)[:, 0]
  returns = diagnosis.critic_samples(agent, normalised, action, 'none')
  return tf.reduce_mean(returns, axis=1)[:, 0]


def _outcomes(
  simulator: simulation.Simulator,
  states: Sequence[simulation.State],
  actions: Sequence[Sequence[np.ndarray]],
  discount: float,
) -> np.ndarray:
  """[R ; s+] of each state's actions, [N, 1 + S]."""
  pairs = zip(states, actions)
  return np.array([simulator.outcome(*pair, discount) for pair in pairs], np.float32)


def _simulated_jacobian(simulator, states, actions, discount) -> np.ndarray:
  """d[R ; s+]/da of each state's first action, by central differences: [N, A, 1 + S]."""
  columns = []
  for move in _STEP * np.eye(len(actions[0][0])):
    moved = lambda sign: [[a[0] + sign * move, *a[1:]] for a in actions]
    forward, backward = (
      _outcomes(simulator, states, moved(sign), discount) for sign in (1.0, -1.0)
    )
    columns.append((forward - backward) / (2.0 * _STEP))
  return np.stack(columns, axis=1)


def _model_jacobian(
  agent: TrainedAgent, visited: Visited, outcomes: np.ndarray
) -> np.ndarray:
  """d[R ; s+]/da of the world model, of normalised observations: [N, A, 1 + S].

  The mean over latents drawn from the posterior, as the learner draws them.
  """
  model, normalizer = agent.networks.world_model, agent.networks.normalizer
  observation = normalizer(tf.constant(visited.observation))
  action = tf.constant(visited.action)
  reward, next_observation = tf.split(outcomes, [1, outcomes.shape[1] - 1], axis=1)
  posterior = model.encode(
    observation, action, reward[:, 0], normalizer(next_observation)
  )

  @tf.function(autograph=False)  # Eagerly, it would be traced anew for each latent.
  def jacobian(latent):
    def outcome(moved):
      reward, next_observation = model.decode(observation, moved, latent)
      return tf.concat([reward[:, tf.newaxis], next_observation], axis=1)

    return jacobians.value_and_jacobian(outcome, action)[1]

  latents = posterior.sample(_NUM_LATENTS, seed=[0, 0])
  return np.mean([jacobian(latent) for latent in latents], axis=0)


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
  """Returns the cosines of rows, [N]; 0 where a row is."""
  norm = lambda x: np.linalg.norm(x, axis=-1)
  return np.sum(a * b, axis=-1) / np.maximum(norm(a) * norm(b), 1e-12)
