"""Trials: what is kept of a search's runs, a row of one CSV for each."""

import csv
import json
import os
import pathlib
import subprocess

import numpy as np

from acme_dsdpg.analysis import sweeps
from acme_dsdpg.running import log_files

FIELDS = (
  'trial', 'task', 'seed', 'steps', 'mean_return', 'last_return', 'train_seconds',
  'overrides', 'commit',
)  # fmt: skip


def append(path: str, run: sweeps.Run, commit: str):
  """Appends the row of a complete run.

  `mean_return` is the area under the curve of evaluation returns, from the first to the
  last, divided by their steps. `overrides` are the launcher's flags but for task, seed
  and threads.

  Args:
    path: a CSV file, made if there is none.
    run: a complete run.
    commit: of the code that ran.
  """
  steps, returns, seconds = np.array(
    [
      [row[key] for key in ('actor_steps', 'episode_return', 'train_seconds')]
      for row in log_files.read(os.path.join(run.workdir, 'logs', 'evaluator.csv'))
    ]
  ).T
  flags = dict(flag[2:].split('=', 1) for flag in run.flags)
  for key in ('env', 'task', 'seed', 'num_threads', 'num_steps'):
    flags.pop(key, None)
  row = (
    run.name,
    f'{run.config.env}-{run.config.task}',
    run.config.seed,
    int(steps[-1]),
    round(float(np.trapz(returns, steps) / np.ptp(steps)), 1),
    round(float(returns[-1]), 1),
    round(float(seconds[-1])),
    json.dumps(flags),
    commit,
  )
  is_new = not os.path.exists(path)
  with open(path, 'a', encoding='utf-8', newline='') as file:
    writer = csv.writer(file, lineterminator='\n')
    if is_new:
      writer.writerow(FIELDS)
    writer.writerow(row)


def commit_of(launcher: pathlib.Path) -> str:
  """Returns the short hash of a launcher's checkout, '+' behind it where files differ."""
  git = ['git', '-C', str(launcher.parent)]
  read = lambda *command: subprocess.run(
    [*git, *command], capture_output=True, text=True, check=True
  ).stdout.strip()
  try:
    commit = read('rev-parse', '--short', 'HEAD')
    return commit + '+' * bool(read('status', '--porcelain', '--untracked-files=no'))
  except (OSError, subprocess.CalledProcessError):
    return 'unknown'
