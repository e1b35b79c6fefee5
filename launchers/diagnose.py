"""Looks into one run: `python launchers/diagnose.py RUN --output=diagnosis`.

Five panels, and the numbers behind them in a line each, from episodes that the trained
policy acts here and now:

- the returns that the critic predicts along episodes without exploration noise, against
  the discounted returns that were obtained;
- their calibration: where among the critic's samples the return lies (uniformly, where
  the distribution is right);
- the critic's samples of dz/da by action;
- the world model's squared error by dimension, of transitions with exploration noise as
  it has learned from, in the variances of what it predicts, reconstructed and drawn
  from the prior;
- how much of each step the world model explains, and how far it is trusted there.

Three flags compare with finite differences of the simulator, where exploration leads:
`--gradients=30` the critic's mean dz/da with returns simulated anew, for several
horizons: with their differences (where those to both sides do not agree, there is no
derivative to be learned), and with their slope over the exploration noise;
`--targets=200` dz/da with the gradient of a one-step target, by simulator and by model;
`--model=150` the world model's d(s+, R)/da, over the steps that it spans.
"""

import contextlib

import acme_dsdpg

acme_dsdpg.set_up()

from absl import flags
from acme import specs

from acme_dsdpg import config as config_lib
from acme_dsdpg import environments
from acme_dsdpg.analysis import (
  diagnosis,
  diagnosis_figure,
  diagnosis_report,
  figures,
  simulation,
  trained_agent,
)
from acme_dsdpg.running import command_line, paths, run_directory

_OUTPUT = flags.DEFINE_string(
  'output', 'diagnosis', 'Files to write, without their .png and .pdf.'
)
_GRADIENTS = flags.DEFINE_integer(
  'gradients', 0, 'States whose dz/da is compared; at least (2 A + 81) 126 steps each.', 0
)
_TARGETS = flags.DEFINE_integer(
  'targets', 0, "States whose dz/da is compared with the target's; 2 A + 1 steps each.", 0
)
_MODEL = flags.DEFINE_integer(
  'model', 0, "Transitions at which the world model's derivative is compared.", 0
)
_EPISODES = flags.DEFINE_integer('episodes', 5, 'Of each kind.', 1)
_SEED = flags.DEFINE_integer(
  'seed', 3_000_000, "Of the environment's randomness.", 0, 2**31 - 1
)


def main(workdir):
  """Flags in, numbers and a figure out."""
  workdir = paths.directory(workdir, 'run directory')
  output, seed = command_line.output_path(_OUTPUT, figures.SUFFIXES), _SEED.value
  numbers = (_GRADIENTS.value, _TARGETS.value, _MODEL.value)
  config = run_directory.load(workdir, resumable=True)
  if _MODEL.value and not config.dsdpg.uses_world_model:
    raise config_lib.ConfigError(
      f'agent={config.agent!r} has no world model: leave out --model.'
    )
  simulator = simulation.make_simulator(config, seed) if any(numbers) else None
  make = environments.SuiteFactory.of_run(config)
  factory = lambda seed: environments.TimeLimit(make(seed), config.max_episode_steps)
  with contextlib.closing(factory(0)) as environment:
    spec = specs.make_environment_spec(environment)
  agent = trained_agent.load(workdir, config, spec)
  result = diagnosis.diagnose(agent, factory, _EPISODES.value, seed)
  print(diagnosis_report.of_episodes(result), flush=True)
  title = f'{config.agent}, {config.env}-{config.task}, seed {config.seed}'
  figure = diagnosis_figure.draw(result, title)
  print(*figures.save(figure, output), sep='\n', flush=True)
  for lines in diagnosis_report.of_simulator(agent, simulator, *numbers, seed):
    print(lines, flush=True)


if __name__ == '__main__':
  command_line.run(main, 'one run directory')
