"""Looks into one run: `python launchers/diagnose.py RUN --output=diagnosis`.

Three panels, and the numbers behind them in a line each, from episodes that the trained
policy acts here and now:

- the returns that the critic predicts along episodes without exploration noise, against
  the discounted returns that were obtained;
- the world model's squared error by dimension, of transitions with exploration noise as
  it has learned from, in the variances of what it predicts, reconstructed and drawn
  from the prior;
- the critic's samples of dz/da by action.
"""

import os
import sys

from acme_dsdpg import quiet

quiet.silence()

from absl import flags
from acme import specs
import matplotlib

matplotlib.use('Agg')
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf

from acme_dsdpg import checkpointing, command_line, environments, run_directory
from acme_dsdpg import config as config_lib
from acme_dsdpg import networks as networks_lib
from acme_dsdpg.losses import sobolev

_OUTPUT = flags.DEFINE_string('output', 'diagnosis', 'Files to write: .png and .pdf.')
_EPISODES = flags.DEFINE_integer('episodes', 5, 'Of each kind.', 1)
_SEED = flags.DEFINE_integer('seed', 3_000_000, "Of the environment's randomness.", 0)
_SAMPLES = 200  # Of the critic, at each state.
_EVERY = 10  # Steps between two states that are looked at.
_LATENTS = ('reconstructed', 'from the prior')
_DISCOUNTED = 0.05  # What is left of a reward where an episode is cut off.


def load_networks(workdir, config, spec):
  """The trained networks of the newest checkpoint.

  Raises:
    ConfigError: the run has no checkpoint, or networks that are not this project's.
  """
  if config.agent in config_lib.BASELINES:
    raise config_lib.ConfigError(
      f"agent={config.agent!r} has Acme's networks, which are not looked into."
    )
  cut = checkpointing.newest(workdir)
  if cut is None:
    raise config_lib.ConfigError(f'{workdir!r} has no checkpoint.')
  networks = networks_lib.make_networks(spec, config.dsdpg, config.seed)
  parts = {k: v for k, v in vars(networks).items() if v is not None}
  path = os.path.join(cut.path, 'learner')
  tf.train.Checkpoint(**parts).read(
    path
  ).expect_partial().assert_existing_objects_matched()
  return networks


def collect(environment, policy, sigma, num_episodes):
  """Episodes, dictionaries of observation [T + 1, S], action, reward and discount."""
  rng = np.random.default_rng(_SEED.value)
  episodes = []
  for _ in range(num_episodes):
    timestep = environment.reset()
    rows = dict(observation=[timestep.observation], action=[], reward=[], discount=[])
    while not timestep.last():
      action = policy(tf.constant(timestep.observation[np.newaxis]))[0].numpy()
      action = np.clip(action + sigma * rng.normal(size=action.shape), -1.0, 1.0)
      action = action.astype(np.float32)
      timestep = environment.step(action)
      for key in ('observation', 'reward', 'discount'):
        rows[key].append(getattr(timestep, key))
      rows['action'].append(action)
    episodes.append({k: np.array(v, np.float32) for k, v in rows.items()})
  return episodes


def obtained_returns(episode, discount):
  """The discounted return from each step to the episode's end, [T]."""
  result, total = [], 0.0
  for reward, going_on in zip(episode['reward'][::-1], episode['discount'][::-1]):
    total = reward + discount * going_on * total
    result.append(total)
  return np.array(result[::-1])


def critic_samples(networks, config, observation, action):
  """[z ; dz/da] at raw observations: [N, M, 1 + A]."""
  point = config.critic == 'point'
  shape = [len(action), 1 if point else _SAMPLES, 0 if point else config.noise_dim]
  noise = tf.random.stateless_normal(shape, [0, 0])
  normalised = networks.normalizer(tf.constant(observation))
  samples = sobolev.sobolev_samples(
    networks.critic, normalised, tf.constant(action), noise, 'action'
  )
  return samples.numpy()


def compare_returns(networks, config, episodes):
  """(predicted samples [N, M], obtained [N], dz/da [N, M, A])."""
  predicted, obtained, gradients = [], [], []
  for episode in episodes:
    returns = obtained_returns(episode, config.discount)
    # Cut off by a time limit, the last returns lack what would have followed.
    tail = (
      int(np.log(_DISCOUNTED) / np.log(config.discount)) if config.discount < 1 else 0
    )
    stop = len(returns) - tail * bool(episode['discount'][-1])
    chosen = np.arange(0, max(stop, 1), _EVERY)
    samples = critic_samples(
      networks, config, episode['observation'][chosen], episode['action'][chosen]
    )
    predicted.append(samples[..., 0])
    gradients.append(samples[..., 1:])
    obtained.append(returns[chosen])
  return tuple(map(np.concatenate, (predicted, obtained, gradients)))


def model_errors(networks, config, episodes):
  """Squared errors over variances, [S + 1] each: reconstructed and from the prior.

  Of the state after the steps that the model spans, and, last, of the reward.
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
  s, s_next = (
    networks.normalizer(tf.constant(s)),
    networks.normalizer(tf.constant(s_next)),
  )
  posterior = networks.world_model.encode(s, tf.constant(a), tf.constant(r), s_next)
  prior = networks.world_model.prior().sample(len(r), seed=[0, 1])
  true = np.c_[s_next, r]
  errors = []
  for latent in (posterior.sample(seed=[0, 2]), prior):
    reward, state = networks.world_model.decode(s, tf.constant(a), latent)
    error = np.mean((np.c_[state, reward] - true) ** 2, axis=0)
    errors.append(error / np.maximum(np.var(true, axis=0), 1e-8))
  return errors


def plot(config, predicted, obtained, gradients, errors):
  """The figure."""
  figure, axes = plt.subplots(1, 3, figsize=(14, 4), layout='constrained')
  low, high = np.quantile(predicted, [0.05, 0.95], axis=1)
  mean = predicted.mean(1)
  axes[0].errorbar(
    obtained, mean, [np.maximum(mean - low, 0), np.maximum(high - mean, 0)],
    fmt='.', ms=3, lw=0.5, alpha=0.5,
  )  # fmt: skip
  ends = [min(obtained.min(), low.min()), max(obtained.max(), high.max())]
  axes[0].plot(ends, ends, color='0.5', ls='--')
  axes[0].set(
    xlabel='discounted return obtained', ylabel='predicted: mean, 5% to 95%',
    title=f'{config.agent}, {config.env}-{config.task}, seed {config.seed}',
  )  # fmt: skip
  if errors is None:
    axes[1].text(0.5, 0.5, 'no world model', ha='center')
    axes[1].set_axis_off()
  else:
    places = np.arange(len(errors[0]))
    for offset, label, error in zip(
      (-0.2, 0.2), ('reconstructed', 'from the prior'), errors
    ):
      axes[1].bar(places + offset, error, 0.4, label=label)
    axes[1].set_xticks(places, [*map(str, places[:-1]), 'R'], fontsize=7)
    axes[1].set(xlabel='observation, reward', ylabel='squared error / variance')
    axes[1].legend()
  by_action = gradients.reshape([-1, gradients.shape[-1]])
  axes[2].boxplot(list(by_action.T), whis=(5, 95), showfliers=False)
  axes[2].axhline(0.0, color='0.5', lw=0.5)
  axes[2].set(xlabel='action', ylabel='dz/da: quartiles, 5% to 95%')
  return figure


def main(workdir):
  """Episodes, numbers, figure."""
  config = run_directory.load(workdir)
  make = environments.SuiteFactory(config.env, config.task, config.action_noise)
  spec = specs.make_environment_spec(make(0))
  networks = load_networks(workdir, config, spec)
  policy = tf.function(networks.make_acting_policy())
  agent = config.dsdpg
  clean = collect(make(_SEED.value), policy, 0.0, _EPISODES.value)
  predicted, obtained, gradients = compare_returns(networks, agent, clean)
  low, high = np.quantile(predicted, [0.05, 0.95], axis=1)
  inside = np.mean((low <= obtained) & (obtained <= high))
  print(
    f'return: obtained {obtained.mean():.2f}, predicted {predicted.mean():.2f}, '
    f'correlation {np.corrcoef(obtained, predicted.mean(1))[0, 1]:.2f}, '
    f'within 5% to 95%: {inside:.0%}, spread of the samples {predicted.std(1).mean():.2f}'
  )
  norm = np.linalg.norm(gradients, axis=-1)
  print(f'|dz/da|: mean {norm.mean():.3f}, spread over samples {norm.std(1).mean():.3f}')
  errors = None
  if networks.world_model is not None:
    noisy = collect(make(_SEED.value + 1), policy, agent.sigma, _EPISODES.value)
    errors = model_errors(networks, agent, noisy)
    for label, error in zip(_LATENTS, errors):
      print(
        f'world model, {label}: squared error / variance, mean of the states '
        f'{error[:-1].mean():.3f}, worst {error[:-1].max():.3f}, reward {error[-1]:.3f}'
      )
  figure = plot(config, predicted, obtained, gradients, errors)
  for suffix in ('png', 'pdf'):
    figure.savefig(f'{_OUTPUT.value}.{suffix}', dpi=150)
    print(f'{_OUTPUT.value}.{suffix}')
  sys.stdout.flush()


if __name__ == '__main__':
  command_line.run(main, 'one run directory')
