"""Learning curves of runs: `python launchers/plot.py RUN... --output=curves`.

A RUN is a run directory, or a directory with run directories somewhere below. One
panel a task, with noisy actions another; an agent's runs are those of one config, and
are named by their directories, NAME-seed0, or by the preset. Shown are the interquartile
mean over seeds (of fewer than four the mean) and its 95% bootstrap interval; published
curves (results/references) are dashed. A table has means and standard deviations over
seeds. What is left out is said on stderr.

Where agents have runs on the same tasks, two seeds or more each, OUTPUT_aggregate shows
them together: interquartile mean over runs and tasks with stratified bootstrap intervals,
and the probability that a run of one is better than a run of another (Agarwal et al.,
2021).

`--against=cpu_seconds` draws returns against the CPU time of acting and learning, of all
threads, without evaluations, and no published curves. Tables stay by steps.

`--reach=400,800` prints when each agent's evaluations first reach these returns, in
environment steps and in seconds of acting and learning.
"""

import pathlib
import sys

import acme_dsdpg

acme_dsdpg.set_up()

from absl import flags

from acme_dsdpg.analysis import curves, evaluations, figures, published
from acme_dsdpg.running import command_line

_OUTPUT = flags.DEFINE_string(
  'output', 'curves', 'Files to write, without their .png and .pdf.'
)
_LAST = flags.DEFINE_integer(
  'last', 5, "Evaluations at a run's end whose mean is tabulated and aggregated.", 1
)
_AGAINST = flags.DEFINE_enum(
  'against', 'steps', ['steps', 'cpu_seconds'], 'What returns are drawn against.'
)
_REFERENCES = flags.DEFINE_list('references', ['ddpg'], 'Published agents to show.')
_REACH = flags.DEFINE_list('reach', [], 'Returns; when they are reached is printed.')
_REFERENCE_FILE = (
  pathlib.Path(__file__).resolve().parents[1] / 'results/references/reference_returns.csv'
)


def main(*paths):
  """Flags in, tables and figures out."""
  aims = command_line.numbers(_REACH)
  output = command_line.output_path(_OUTPUT, figures.SUFFIXES)
  references = published.read(_REFERENCE_FILE, _REFERENCES.value)
  warn = lambda line: print(f'WARNING: {line}.', file=sys.stderr)
  runs = evaluations.read_runs(paths, warn)
  if _AGAINST.value == 'cpu_seconds':
    curves.check_cpu_seconds(runs)
  figure = figures.learning_curves(runs, references, _AGAINST.value)
  print(curves.table(runs, _LAST.value))
  if aims:
    print(f'\n{curves.reached(runs, aims)}')
  print(*figures.save(figure, output), sep='\n')
  scores = curves.aggregate(runs, _LAST.value)
  if len(scores) > 1:
    compared = curves.compare(scores)
    print(f'\n{curves.comparison(*compared)}')
    figure = figures.comparison(*compared)
    print(*figures.save(figure, f'{output}_aggregate'), sep='\n')


if __name__ == '__main__':
  command_line.run(main, 'at least one run directory...')
