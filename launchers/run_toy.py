"""The paper's supervised figures: `python launchers/run_toy.py --figure=all`.

Trains what a figure needs, several arms at once, and draws it. Below the run directory:

    settings.json              steps and seeds, shared by everything in it
    summary.csv                metrics at the end, over the seeds, of every arm trained
    arms/<arm>/metrics.csv     every metric at every evaluated step and seed
    arms/<arm>/ckpt-*          the models of all seeds
    figure_<n>.png, .pdf

Stopped at any moment, the same command goes on where it was; arms that figures share are
trained once.
"""

import signal

import acme_dsdpg

acme_dsdpg.set_up()

from absl import flags

from acme_dsdpg.running import command_line, signals
from acme_dsdpg.toy import arms, run

_FIGURE = flags.DEFINE_list(
  'figure', ['all'], f'all, or some of {", ".join(map(str, arms.FIGURES))}.'
)
_STEPS = flags.DEFINE_integer('steps', 25_000, 'Optimizer steps.', 1)
_SEEDS = flags.DEFINE_integer('seeds', 5, 'Models of an arm, trained together.', 1)
_NUM_POINTS = flags.DEFINE_list(
  'num_points', list(map(str, arms.NUM_POINTS)), 'Sizes of the data sets drawn once.'
)
_PARALLEL = flags.DEFINE_integer('parallel', 2, 'Arms at once.', 1)
_WORKDIR = flags.DEFINE_string(
  'workdir', None, 'Run directory. (default: runs/toy-<steps>steps-<seeds>seeds)'
)


def main():
  """Flags in; arms trained; figures drawn."""
  workdir = _WORKDIR.value
  if workdir is None:
    workdir = f'runs/toy-{_STEPS.value}steps-{_SEEDS.value}seeds'
  with signals.handled_by(signal.default_int_handler):
    run.make_figures(
      arms.figure_numbers(_FIGURE.value),
      arms.Settings(_STEPS.value, _SEEDS.value),
      sorted(set(command_line.positive_integers(_NUM_POINTS))),
      workdir,
      _PARALLEL.value,
    )


if __name__ == '__main__':
  command_line.run(main)
