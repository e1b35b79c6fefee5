"""Looks into one run: `python launchers/diagnose.py RUN --output=diagnosis`.

Three panels, and the numbers behind them in a line each, from episodes that the trained
policy acts here and now:

- the returns that the critic predicts along episodes without exploration noise, against
  the discounted returns that were obtained;
- the world model's squared error by dimension, of transitions with exploration noise as
  it has learned from, in the variances of what it predicts, reconstructed and drawn
  from the prior;
- the critic's samples of dz/da by action.

`--gradients=30` compares the critic's mean dz/da with finite differences of returns that
are simulated anew from as many states, for several horizons, and says how well the
differences to both sides agree: where they do not, there is no slope to be learned.
`--targets=200` compares it with the gradient of a one-step target, the simulator's
derivatives in place of the world model's, and those with each other.
"""

import os
import sys

from acme_dsdpg.running import quiet

quiet.silence()

from absl import flags
from acme import specs
import matplotlib

matplotlib.use('Agg')
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf

from acme_dsdpg import config as config_lib
from acme_dsdpg import environments
from acme_dsdpg import networks as networks_lib
from acme_dsdpg.analysis import diagnosis, simulation
from acme_dsdpg.running import checkpointing, command_line, run_directory

_OUTPUT = flags.DEFINE_string(
  'output', 'diagnosis', 'Files to write, without their .png and .pdf.'
)
_GRADIENTS = flags.DEFINE_integer(
  'gradients',
  0,
  'States whose dz/da is compared with simulated returns; (2 A + 1) 126 steps each.',
  0,
)
_TARGETS = flags.DEFINE_integer(
  'targets', 0, "States whose dz/da is compared with the target's; 2 A + 1 steps each.", 0
)
_EPISODES = flags.DEFINE_integer('episodes', 5, 'Of each kind.', 1)
_SEED = flags.DEFINE_integer(
  'seed', 3_000_000, "Of the environment's randomness.", 0, 2**31 - 1
)
_HORIZONS = (1, 5, 20, 100)  # Simulated steps.
_LATENTS = ('reconstructed', 'from the prior')


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
    for offset, label, error in zip((-0.2, 0.2), _LATENTS, errors):
      axes[1].bar(places + offset, error, 0.4, label=label)
    axes[1].set_xticks(places, [*map(str, places[:-1]), 'R'], fontsize=7)
    axes[1].set(xlabel='observation, reward', ylabel='squared error / variance')
    axes[1].legend()
  by_action = gradients.reshape([-1, gradients.shape[-1]])
  axes[2].boxplot(list(by_action.T), whis=(5, 95), showfliers=False)
  axes[2].axhline(0.0, color='0.5', lw=0.5)
  axes[2].set(xlabel='action', ylabel='dz/da: quartiles, 5% to 95%')
  return figure


def agreement(learned, simulated):
  """Of gradients, [N, A] each, in words."""
  cosines = diagnosis.cosines(learned, simulated)
  low, high = np.quantile(cosines, [0.25, 0.75])
  slope = np.sum(learned * simulated) / np.sum(simulated**2)
  return (
    f'cosine, median {np.median(cosines):.2f}, quartiles {low:.2f} to {high:.2f}, '
    f'slope {slope:.2f}'
  )


def report_gradients(num_steps, parts):
  """Prints how critic and simulator agree; of `diagnosis.compare_gradients`."""
  forward, backward = parts['forward'], parts['backward']
  print(
    f'dz/da against {num_steps} simulated steps and the value then: '
    f'{agreement(parts["critic"], (forward + backward) / 2.0)}; '
    f'the differences to both sides: {agreement(forward, backward)}'
  )


def report_targets(parts):
  """Prints how the critic and its target agree; of `diagnosis.compare_targets`."""
  norm = lambda x: np.median(np.linalg.norm(x, axis=-1))
  label = "dz/da against the one-step target's by the"
  true = parts['reward'] + parts['bootstrap']
  print(f'{label} simulator: {agreement(parts["critic"], true)}')
  pairs = [('', true)]
  if 'model_reward' in parts:
    told = parts['model_reward'] + parts['model_bootstrap']
    print(f'{label} model: {agreement(parts["critic"], told)}')
    print(f"the target's by the model, by the simulator: {agreement(told, true)}")
    pairs.append(('model_', told))
  for prefix, total in pairs:
    print(
      f'medians by the {"model" if prefix else "simulator"}: |dR/da| '
      f'{norm(parts[f"{prefix}reward"]):.4f}, the bootstrapped part '
      f'{norm(parts[f"{prefix}bootstrap"]):.4f}, both {norm(total):.4f}'
    )


def main(workdir):
  """Episodes, numbers, figure."""
  output = command_line.figure_path(_OUTPUT)
  config = run_directory.load(workdir)
  make = environments.SuiteFactory(config.env, config.task, config.action_noise)
  spec = specs.make_environment_spec(make(0))
  networks = load_networks(workdir, config, spec)
  acting = tf.function(networks.make_acting_policy())
  policy = lambda observation: acting(observation[np.newaxis]).numpy()[0]
  agent = config.dsdpg
  seed = _SEED.value
  clean = diagnosis.collect(make(seed), policy, 0.0, _EPISODES.value)
  predicted, obtained, gradients = diagnosis.compare_returns(networks, agent, clean)
  low, high = np.quantile(predicted, [0.05, 0.95], axis=1)
  inside = np.mean((low <= obtained) & (obtained <= high))
  with np.errstate(invalid='ignore'):  # Not a number where every return was the same.
    correlation = np.corrcoef(obtained, predicted.mean(1))[0, 1]
  print(
    f'return: obtained {obtained.mean():.2f}, predicted {predicted.mean():.2f}, '
    f'correlation {correlation:.2f}, '
    f'within 5% to 95%: {inside:.0%}, spread of the samples {predicted.std(1).mean():.2f}'
  )
  norm = np.linalg.norm(gradients, axis=-1)
  print(f'|dz/da|: mean {norm.mean():.3f}, spread over samples {norm.std(1).mean():.3f}')
  print(f'actions within 5% of their bounds: {diagnosis.saturation(clean):.0%}')
  errors = None
  if networks.world_model is not None:
    noisy = diagnosis.collect(make(seed + 1), policy, agent.sigma, _EPISODES.value, seed)
    errors = diagnosis.model_errors(networks, agent, noisy)
    for label, error in zip(_LATENTS, errors):
      print(
        f'world model, {label}: squared error / variance, mean of the states '
        f'{error[:-1].mean():.3f}, worst {error[:-1].max():.3f}, reward {error[-1]:.3f}'
      )
  if _GRADIENTS.value or _TARGETS.value:
    simulation.check_config(config)
  simulate = lambda: simulation.Simulator(config.env, config.task, seed)
  if _GRADIENTS.value:
    for num_steps in _HORIZONS:
      parts = diagnosis.compare_gradients(
        networks, agent, simulate(), policy, _GRADIENTS.value, num_steps, seed=seed
      )
      report_gradients(num_steps, parts)
  if _TARGETS.value:
    report_targets(
      diagnosis.compare_targets(
        networks, agent, simulate(), policy, _TARGETS.value, seed=seed
      )
    )
  figure = plot(config, predicted, obtained, gradients, errors)
  for suffix in ('png', 'pdf'):
    figure.savefig(f'{output}.{suffix}', dpi=150)
    print(f'{output}.{suffix}')
  sys.stdout.flush()


if __name__ == '__main__':
  command_line.run(main, 'one run directory')
