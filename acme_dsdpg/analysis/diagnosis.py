"""What a trained critic and world model predict, against episodes acted here and now."""

import contextlib
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import dm_env
import numpy as np
import tensorflow as tf

from acme_dsdpg import config as config_lib
from acme_dsdpg import environments
from acme_dsdpg.agent import batches, feature_objective
from acme_dsdpg.analysis.trained_agent import TrainedAgent
from acme_dsdpg.losses import sobolev
from acme_dsdpg.losses import trust as trust_lib

Episode = Dict[str, np.ndarray]

# Where the world model's latent comes from.
LATENTS = ('reconstructed', 'from the prior')

_NUM_SAMPLES = 200  # Of the critic, at each state.
_LEFT = 0.05  # What is left of a reward where the returns are cut off.


class Diagnosis(NamedTuple):
  """What was found along some episodes, of N states.

  Attributes:
    predicted: [N, M], samples of the critic.
    obtained: [N], the discounted returns.
    gradients: dz/da of the samples, [N, M, A].
    saturation: the share of actions' coordinates at their bounds.
    model_errors: of the world model, [S + 1] for each of `LATENTS`; None without one.
    explained: R^2 of each step's change by the prediction that the trust goes by, [T];
      None where there is no trust.
    trust: w of each step, [T]; None where there is none.
  """

  predicted: np.ndarray
  obtained: np.ndarray
  gradients: np.ndarray
  saturation: float
  model_errors: Optional[Tuple[np.ndarray, np.ndarray]]
  explained: Optional[np.ndarray] = None
  trust: Optional[np.ndarray] = None


def diagnose(
  agent: TrainedAgent,
  factory: environments.EnvironmentFactory,
  num_episodes: int,
  seed: int,
) -> Diagnosis:
  """Acts in episodes without exploration noise, and with it for the world model.

  Args:
    agent: the trained agent.
    factory: of its environment.
    num_episodes: of either kind.
    seed: of environments and noise.
  """
  rng = np.random.default_rng(seed)
  with contextlib.closing(factory(seed)) as environment:
    clean = collect(environment, agent.policy, 0.0, num_episodes, rng)
  errors, of_steps = None, (None, None)
  if agent.networks.world_model is not None:
    sigma = agent.config.sigma
    with contextlib.closing(factory(seed + 1)) as environment:
      noisy = collect(environment, agent.policy, sigma, num_episodes, rng)
    errors = model_errors(agent, noisy)
    if 'trust' not in agent.config.unused_fields():
      of_steps = trust_by_step(agent, noisy)
  returns = compare_returns(agent, clean)
  return Diagnosis(*returns, saturation(clean), errors, *of_steps)


def collect(
  environment: dm_env.Environment,
  policy: Callable[[np.ndarray], np.ndarray],
  sigma: float,
  num_episodes: int,
  rng: np.random.Generator,
) -> List[Episode]:
  """Acts in whole episodes.

  Args:
    environment: wrapped.
    policy: observation [S] to action [A].
    sigma: standard deviation of Gaussian exploration noise.
    num_episodes: how many.
    rng: draws the noise.

  Returns:
    Of each episode: observation [T + 1, S], action [T, A], reward and discount [T].
  """
  episodes = []
  for _ in range(num_episodes):
    timestep = environment.reset()
    rows = dict(observation=[timestep.observation], action=[], reward=[], discount=[])
    while not timestep.last():
      action = explore(policy(timestep.observation), sigma, rng)
      timestep = environment.step(action)
      for key in ('observation', 'reward', 'discount'):
        rows[key].append(getattr(timestep, key))
      rows['action'].append(action)
    episodes.append({k: np.array(v, np.float32) for k, v in rows.items()})
  return episodes


def explore(action: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
  """Returns an action with exploration noise, [A] within [-1, 1]."""
  noisy = action + sigma * rng.normal(size=action.shape)
  return np.clip(noisy, -1.0, 1.0).astype(np.float32)


def saturation(episodes: Sequence[Episode], margin: float = 0.05) -> float:
  """Returns the share of actions' coordinates that are within `margin` of a bound."""
  actions = np.concatenate([episode['action'] for episode in episodes])
  return float(np.mean(np.abs(actions) > 1.0 - margin))


def obtained_returns(episode: Episode, discount: float) -> np.ndarray:
  """Returns the discounted return from each step to the episode's end, [T]."""
  result, total = [], 0.0
  for reward, going_on in zip(episode['reward'][::-1], episode['discount'][::-1]):
    total = reward + discount * going_on * total
    result.append(total)
  return np.array(result[::-1])


def horizon(discount: float) -> int:
  """Returns the steps after which 5% of a reward is left; 0 where none is ever lost."""
  return int(np.log(_LEFT) / np.log(discount)) if discount < 1.0 else 0


def critic_samples(
  agent: TrainedAgent, normalised: tf.Tensor, action: tf.Tensor, wrt: str = 'action'
) -> tf.Tensor:
  """Draws samples [z ; dz/da] of the critic, [N, M, 1 + A]; of a point, the point.

  The noise is the same in all rows: what differs between two of them is theirs.

  Args:
    agent: the trained agent.
    normalised: observations [N, S].
    action: [N, A].
    wrt: as in `sobolev.sobolev_samples`.
  """
  critic, kind = agent.networks.critic, agent.config.critic
  noise = critic.draw_noise([0, 0], 1, 1 if kind == 'point' else _NUM_SAMPLES)
  if kind == 'samples':  # Of each row; features are shared as it is.
    noise = tf.repeat(noise, action.shape[0], axis=0)
  return sobolev.sobolev_samples(critic, normalised, action, noise, wrt)


def compare_returns(
  agent: TrainedAgent, episodes: Sequence[Episode], every: int = 10
) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Compares predicted with obtained returns, at every so many steps of the episodes.

  The last returns of an episode that a time limit ends lack what would have followed,
  and are left out.

  Returns:
    Samples [N, M], returns obtained [N], and dz/da [N, M, A].
  """
  discount, normalizer = agent.config.discount, agent.networks.normalizer
  samples, obtained = [], []
  for episode in episodes:
    returns = obtained_returns(episode, discount)
    stop = len(returns) - horizon(discount) * bool(episode['discount'][-1])
    chosen = np.arange(0, max(stop, 1), every)
    normalised = normalizer(tf.constant(episode['observation'][chosen]))
    action = tf.constant(episode['action'][chosen])
    samples.append(critic_samples(agent, normalised, action).numpy())
    obtained.append(returns[chosen])
  samples = np.concatenate(samples)
  return samples[..., 0], np.concatenate(obtained), samples[..., 1:]


def calibration(predicted: np.ndarray, obtained: np.ndarray) -> np.ndarray:
  """Returns the share of each state's samples that are below what was obtained.

  The probability integral transform: uniform in [0, 1] where the critic's distribution
  is right (Dawid, 1984). Ties count half.

  Args:
    predicted: [N, M].
    obtained: [N].
  """
  obtained = obtained[:, np.newaxis]
  return np.mean((predicted < obtained) + 0.5 * (predicted == obtained), axis=1)


def model_steps(config: config_lib.DSDPGConfig) -> int:
  """Returns the environment steps that the world model spans."""
  return 1 if config.one_step_model else config.n_step


def model_errors(
  agent: TrainedAgent, episodes: Sequence[Episode]
) -> Tuple[np.ndarray, np.ndarray]:
  """Computes the world model's squared errors over variances, for each of `LATENTS`.

  [S + 1] each: of the state after the steps that the model spans, and of the reward.
  """
  model = agent.networks.world_model
  s, a, r, s_next = _transitions(agent, episodes)
  posterior = model.encode(s, a, r, s_next)
  prior = model.prior().sample(len(r), seed=[0, 1])
  true = np.c_[s_next, r]
  errors = []
  for latent in (posterior.sample(seed=[0, 2]), prior):
    reward, state = model.decode(s, a, latent)
    error = np.mean((np.c_[state, reward] - true) ** 2, axis=0)
    errors.append(error / np.maximum(np.var(true, axis=0), 1e-8))
  return tuple(errors)


def trust_by_step(
  agent: TrainedAgent, episodes: Sequence[Episode]
) -> Tuple[np.ndarray, np.ndarray]:
  """Computes how far the model explains each step, R^2 [T], and the trust, w [T]."""
  config, model = agent.config, agent.networks.world_model
  s, a, r, s_next = _transitions(agent, episodes)
  outcome = batches.Outcome(r, tf.ones_like(r), s_next)
  batch = batches.Batch(s, a, outcome, outcome)
  latent = model.encode(s, a, r, s_next).sample(seed=[0, 2])
  predicted = feature_objective.trusted_prediction(config, model, batch, latent)
  explained = trust_lib.explained_share(s, s_next, predicted)
  weight = feature_objective.transition_trust(config, model, batch, latent)
  return explained.numpy(), weight.numpy()


def _transitions(agent: TrainedAgent, episodes: Sequence[Episode]) -> List[tf.Tensor]:
  """s, a, R, s+ over the steps that the model spans: [T, S], [T, A], [T], [T, S]."""
  span = model_steps(agent.config)
  weights = agent.config.discount ** np.arange(span)
  columns = []
  for episode in episodes:
    starts = np.arange(0, len(episode['reward']) - span + 1)
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
  s, a, r, s_next = (tf.constant(np.concatenate(c), tf.float32) for c in zip(*columns))
  normalizer = agent.networks.normalizer
  return [normalizer(s), a, r, normalizer(s_next)]
