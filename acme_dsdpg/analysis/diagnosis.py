"""What a trained critic and world model say, against what the simulator does."""

from typing import Callable, Dict, List, Sequence, Tuple

import dm_env
import numpy as np
import tensorflow as tf

from acme_dsdpg import config as config_lib
from acme_dsdpg import networks as networks_lib
from acme_dsdpg.analysis import simulation
from acme_dsdpg.losses import sobolev

Episode = Dict[str, np.ndarray]
_NUM_SAMPLES = 200  # Of the critic, at each state.
_NUM_LATENTS = 20  # Of the world model, at each transition.
_LEFT = 0.05  # What is left of a reward where the returns are cut off.
_STEP = 0.1  # Of the finite differences, actions in [-1, 1].


def collect(
  environment: dm_env.Environment,
  policy: Callable[[np.ndarray], np.ndarray],
  sigma: float,
  num_episodes: int,
  seed: int = 0,
) -> List[Episode]:
  """Acts in whole episodes.

  Args:
    environment: wrapped.
    policy: observation [S] to action [A].
    sigma: deviation of Gaussian exploration noise.
    num_episodes: how many.
    seed: of the noise.

  Returns:
    Of each episode: observation [T + 1, S], action [T, A], reward and discount [T].
  """
  rng = np.random.default_rng(seed)
  episodes = []
  for _ in range(num_episodes):
    timestep = environment.reset()
    rows = dict(observation=[timestep.observation], action=[], reward=[], discount=[])
    while not timestep.last():
      action = policy(timestep.observation)
      action = np.clip(action + sigma * rng.normal(size=action.shape), -1.0, 1.0)
      action = action.astype(np.float32)
      timestep = environment.step(action)
      for key in ('observation', 'reward', 'discount'):
        rows[key].append(getattr(timestep, key))
      rows['action'].append(action)
    episodes.append({k: np.array(v, np.float32) for k, v in rows.items()})
  return episodes


def saturation(episodes: Sequence[Episode], margin: float = 0.05) -> float:
  """The share of actions' coordinates, in [-1, 1], within `margin` of a bound."""
  actions = np.concatenate([episode['action'] for episode in episodes])
  return float(np.mean(np.abs(actions) > 1.0 - margin))


def obtained_returns(episode: Episode, discount: float) -> np.ndarray:
  """The discounted return from each step to the episode's end, [T]."""
  result, total = [], 0.0
  for reward, going_on in zip(episode['reward'][::-1], episode['discount'][::-1]):
    total = reward + discount * going_on * total
    result.append(total)
  return np.array(result[::-1])


def horizon(discount: float) -> int:
  """Steps after which 5% of a reward is left; 0 where none is ever lost."""
  return int(np.log(_LEFT) / np.log(discount)) if discount < 1.0 else 0


def critic_samples(
  networks: networks_lib.DSDPGNetworks,
  config: config_lib.DSDPGConfig,
  observation: np.ndarray,
  action: np.ndarray,
) -> np.ndarray:
  """[z ; dz/da] at raw observations [N, S] and actions [N, A]: [N, M, 1 + A].

  M samples of each critic.
  """
  normalised = networks.normalizer(tf.constant(observation))
  return _samples(networks, config, normalised, tf.constant(action), 'action').numpy()


def _samples(networks, config, normalised, action, wrt='none'):
  """With the same noise in all rows: what differs between two of them is theirs."""
  point = config.critic == 'point'
  num_samples = config.num_critics * (1 if point else _NUM_SAMPLES)
  shape = [1, num_samples, 0 if point else config.noise_dim]
  noise = tf.repeat(tf.random.stateless_normal(shape, [0, 0]), action.shape[0], axis=0)
  return sobolev.sobolev_samples(networks.critic, normalised, action, noise, wrt)


def _mean_return(networks, config, normalised):
  """v, [N]: the mean return of the policy's actions, without what a target drops."""
  returns = _samples(networks, config, normalised, networks.policy(normalised))
  of_learner = config.num_critics * config.samples_per_critic
  dropped = config.num_dropped_samples * returns.shape[1] // of_learner
  return tf.reduce_mean(sobolev.drop_largest(returns, dropped), axis=1)[:, 0]


def compare_returns(
  networks: networks_lib.DSDPGNetworks,
  config: config_lib.DSDPGConfig,
  episodes: Sequence[Episode],
  every: int = 10,
) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Predicted samples [N, M], returns obtained [N], and dz/da [N, M, A].

  At every so many steps of the episodes. Cut off by a time limit, the last returns lack
  what would have followed, and are left out.
  """
  predicted, obtained, gradients = [], [], []
  for episode in episodes:
    returns = obtained_returns(episode, config.discount)
    stop = len(returns) - horizon(config.discount) * bool(episode['discount'][-1])
    chosen = np.arange(0, max(stop, 1), every)
    samples = critic_samples(
      networks, config, episode['observation'][chosen], episode['action'][chosen]
    )
    predicted.append(samples[..., 0])
    gradients.append(samples[..., 1:])
    obtained.append(returns[chosen])
  return tuple(map(np.concatenate, (predicted, obtained, gradients)))


def model_errors(
  networks: networks_lib.DSDPGNetworks,
  config: config_lib.DSDPGConfig,
  episodes: Sequence[Episode],
) -> Tuple[np.ndarray, np.ndarray]:
  """The world model's squared errors over variances: reconstructed, and from the prior.

  [S + 1] each: of the state after the steps that the model spans, and of the reward.
  """
  span = 1 if config.one_step_model else config.n_step
  columns = []
  for episode in episodes:
    starts = np.arange(0, len(episode['reward']) - span + 1)
    weights = config.discount ** np.arange(span)
    rewards = [np.sum(weights * episode['reward'][t : t + span]) for t in starts]
    observation = episode['observation']
    columns.append(
      (
        observation[starts],
        episode['action'][starts],
        rewards,
        observation[starts + span],
      )
    )
  s, a, r, s_next = (np.concatenate(c).astype(np.float32) for c in zip(*columns))
  s, s_next = (networks.normalizer(tf.constant(x)) for x in (s, s_next))
  posterior = networks.world_model.encode(s, tf.constant(a), tf.constant(r), s_next)
  prior = networks.world_model.prior().sample(len(r), seed=[0, 1])
  true = np.c_[s_next, r]
  errors = []
  for latent in (posterior.sample(seed=[0, 2]), prior):
    reward, state = networks.world_model.decode(s, tf.constant(a), latent)
    error = np.mean((np.c_[state, reward] - true) ** 2, axis=0)
    errors.append(error / np.maximum(np.var(true, axis=0), 1e-8))
  return tuple(errors)


def compare_gradients(
  networks: networks_lib.DSDPGNetworks,
  config: config_lib.DSDPGConfig,
  simulator: simulation.Simulator,
  policy: Callable[[np.ndarray], np.ndarray],
  num_states: int,
  num_steps: int,
  every: int = 15,
  seed: int = 0,
) -> Dict[str, np.ndarray]:
  """The critic's mean dz/da beside differences of returns simulated anew.

  Of `num_steps` rewards, the policy's after the first action, and of the critic's own
  mean return where they end. One-sided differences: where the forward ones and the
  backward ones do not agree, the return has no slope of that width to be learned.

  Args:
    networks: trained.
    config: theirs.
    simulator: of the task.
    policy: observation [S] to action [A].
    num_states: N, along episodes with exploration noise.
    num_steps: of the simulator, before the critic's value.
    every: steps between two of the states.
    seed: of that noise.

  Returns:
    [N, A] each: 'critic', 'forward', 'backward'.

  Raises:
    ConfigError: the simulator cannot be set back to these states.
  """
  states, observation, action = _visit(
    simulator, policy, num_states, every, config.sigma, seed
  )
  num_actions = action.shape[1]
  moves = _STEP * np.concatenate([np.zeros([1, num_actions]), np.eye(num_actions)])
  moves = np.concatenate([moves, -moves[1:]])
  ends = [
    simulator.rollout(state, at + move, policy, config.discount, num_steps)
    for state, at in zip(states, action)
    for move in moves
  ]
  ends = np.array(ends, np.float32)
  value = _mean_return(networks, config, networks.normalizer(tf.constant(ends[:, 1:])))
  returns = ends[:, 0] + config.discount**num_steps * value.numpy()
  still, forward, backward = np.split(
    returns.reshape([num_states, -1]), [1, 1 + num_actions], axis=1
  )
  return {
    'critic': critic_samples(networks, config, observation, action)[..., 1:].mean(1),
    'forward': (forward - still) / _STEP,
    'backward': (still - backward) / _STEP,
  }


def compare_targets(
  networks: networks_lib.DSDPGNetworks,
  config: config_lib.DSDPGConfig,
  simulator: simulation.Simulator,
  policy: Callable[[np.ndarray], np.ndarray],
  num_states: int,
  every: int = 15,
  seed: int = 0,
) -> Dict[str, np.ndarray]:
  """The critic's mean dz/da beside the target's, dR/da + gamma (ds+/da)^T dv/ds+.

  Of one step, v being the online critic's mean return under the online policy: what the
  critic would have to learn if it were right about v, and what the world model would
  tell it. Of several critics' samples the same share is dropped as from their target, by
  the return of one step.

  Args:
    networks: trained.
    config: theirs.
    simulator: of the task.
    policy: observation [S] to action [A].
    num_states: N, along episodes with exploration noise.
    every: steps between two of them.
    seed: of that noise.

  Returns:
    [N, A] each: 'critic'; 'reward' and 'bootstrap', the target's two parts with the
    derivatives of the simulator, by central differences; with a one-step world model
    'model_reward' and 'model_bootstrap', the same with its own, the mean over latents
    drawn from the posterior as the learner draws them.

  Raises:
    ConfigError: the simulator cannot be set back to these states.
  """
  states, observation, action = _visit(
    simulator, policy, num_states, every, config.sigma, seed
  )
  outcome = lambda state, chosen: simulator.outcome(state, [chosen], config.discount)
  outcomes = np.array([outcome(*pair) for pair in zip(states, action)], np.float32)
  moves = _STEP * np.eye(action.shape[1])
  jacobian = [
    [(outcome(s, a + move) - outcome(s, a - move)) / (2.0 * _STEP) for move in moves]
    for s, a in zip(states, action)
  ]
  raw = tf.constant(outcomes[:, 1:])
  with tf.GradientTape() as tape:
    tape.watch(raw)
    next_observation = networks.normalizer(raw)
    value = _mean_return(networks, config, next_observation)
  by_raw, by_normalised = tape.gradient(value, [raw, next_observation])

  def parts(jacobian, dv_ds, prefix):
    through = np.einsum('nas,ns->na', jacobian[..., 1:], dv_ds)
    return {
      f'{prefix}reward': jacobian[..., 0],
      f'{prefix}bootstrap': config.discount * through,
    }

  samples = critic_samples(networks, config, observation, action)
  result = {'critic': samples[..., 1:].mean(1), **parts(np.array(jacobian), by_raw, '')}
  if networks.world_model is not None and config.one_step_model:
    normalised = networks.normalizer(tf.constant(observation))
    learned = _model_jacobian(
      networks.world_model,
      (normalised, tf.constant(action), tf.constant(outcomes[:, 0]), next_observation),
    )
    result.update(parts(learned, by_normalised, 'model_'))
  return result


def _model_jacobian(
  model: networks_lib.WorldModel, transitions: Sequence[tf.Tensor]
) -> np.ndarray:
  """d[R ; s+]/da of the world model, the mean over latents: [N, A, 1 + S]."""
  observation, action, *_ = transitions
  posterior = model.encode(*transitions)

  def jacobian(latent):
    def decode(moved):
      reward, next_observation = model.decode(observation, moved, latent)
      return tf.concat([reward[:, tf.newaxis], next_observation], axis=1)

    return sobolev.value_and_jacobian(decode, action)[1].numpy()

  draws = [posterior.sample(seed=[0, i]) for i in range(_NUM_LATENTS)]
  return np.mean([jacobian(latent) for latent in draws], axis=0)


def _visit(
  simulator: simulation.Simulator,
  policy: Callable[[np.ndarray], np.ndarray],
  num_states: int,
  every: int,
  sigma: float,
  seed: int,
) -> Tuple[List[simulation.State], np.ndarray, np.ndarray]:
  """States along episodes, their observations [N, S], the actions there [N, A].

  The actions are drawn in by the width of a central difference.

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
      action = policy(timestep.observation)
      action = np.clip(action + sigma * rng.normal(size=action.shape), -1.0, 1.0)
      state, observation = simulator.state(), timestep.observation
      timestep = environment.step(action.astype(np.float32))
    states.append(state)
    followed.append((action, timestep.observation))
    observations.append(observation)
    actions.append(np.clip(action, _STEP - 1.0, 1.0 - _STEP).astype(np.float32))
  for state, (action, observation) in zip(states, followed):
    if not np.allclose(
      simulator.outcome(state, [action], 1.0)[1:], observation, atol=1e-3
    ):
      raise config_lib.ConfigError(
        'The simulator does not replay this task: it holds more than can be set back.'
      )
  return states, np.array(observations), np.array(actions)


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
  """Of rows, [N]."""
  norm = lambda x: np.linalg.norm(x, axis=-1)
  return np.sum(a * b, axis=-1) / np.maximum(norm(a) * norm(b), 1e-12)
