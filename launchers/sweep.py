"""Runs agents x tasks x seeds from a file: `python launchers/sweep.py SWEEP.json`.

The file holds a list of blocks, each a product of runs:

    [{"agents": {"ddpg": {}, "ours": {"agent": "dsdpg_anchored", "sigma": 0.2}},
      "tasks": ["walker-walk", "cheetah-run"],
      "seeds": [0, 1, 2],
      "overrides": {"num_steps": 100000}}]

An agent's name is its preset unless its fields name one. Each run has a directory of
its own, OUTPUT/<task>/<name>-seed<seed>. Complete runs are skipped, others go on where
they stopped, so that the same command again finishes what was interrupted.
"""

import pathlib
import signal
import sys

import acme_dsdpg

acme_dsdpg.set_up()

from absl import flags

from acme_dsdpg.analysis import sweeps, trials
from acme_dsdpg.running import command_line, paths, signals

_OUTPUT = flags.DEFINE_string('output', 'runs', 'Directory of the run directories.')
_PARALLEL = flags.DEFINE_integer('parallel', 2, 'Runs at once, one thread each.', 1)
_TRIALS = flags.DEFINE_string(
  'trials', None, 'CSV file that the row of each run is added to as it ends.'
)
_DRY_RUN = flags.DEFINE_bool('dry_run', False, 'Say where the runs stand and stop.')


def main(path):
  """Reads the sweep, says where it stands, works."""
  output = paths.directory(_OUTPUT.value, 'output')
  runs = sweeps.read_sweep(path, output)
  if not _DRY_RUN.value:
    sweeps.make_output(output)
  print(sweeps.screen(runs), flush=True)
  if _DRY_RUN.value:
    return
  launcher = pathlib.Path(__file__).resolve().with_name('run_dsdpg.py')
  record = lambda run: None
  if _TRIALS.value is not None:
    rows, commit = paths.absolute(_TRIALS.value, 'trials'), trials.commit_of(launcher)
    record = lambda run: trials.append(rows, run, commit)
  with signals.handled_by(signal.default_int_handler):
    complete = sweeps.work(runs, _PARALLEL.value, launcher, record)
  print(sweeps.screen(runs))
  if not complete:
    sys.exit(1)


if __name__ == '__main__':
  command_line.run(main, 'one sweep file')
