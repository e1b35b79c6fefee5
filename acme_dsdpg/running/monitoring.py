"""Reports on the processes of a distributed run, for a person at its launcher.

Rows and warnings as they come, starvation in replay, and the cause of a process's death.
"""

import csv
import glob
import os
import re
import signal
import time
from typing import Any, Dict, Iterator, List, Optional, Set

import reverb

from acme_dsdpg import config as config_lib
from acme_dsdpg.running import loggers as run_loggers
from acme_dsdpg.running import notices

# The project's own, and those logged by way of absl.
_WARNING = re.compile(r'WARNING: |W\d{4} \S+ +\d+ \S+\] ')


def log_directory(workdir: str) -> str:
  """Returns the directory of the processes' output, one file each."""
  return os.path.join(workdir, 'logs', 'launchpad')


def cause(name: str, returncode: int, workdir: str) -> str:
  """Says why a process ended: a sentence, or the traceback where there is one."""
  path = os.path.join(log_directory(workdir), name)
  if returncode < 0:
    return f'{name} was killed by {signal.Signals(-returncode).name} (log: {path})'
  with open(path, encoding='utf-8', errors='replace') as file:
    text = file.read().strip()
  *_, last = text.splitlines() or ['no output']
  trace = re.search(r'^Traceback \(most recent call last\)', text, re.MULTILINE)
  why = f'\n{text[trace.start() :]}' if trace else f' {last}'
  return f'{name} ended with exit status {returncode} (log: {path}):{why}'


class Progress:
  """Shows the rows that actors and evaluator log, and the warnings of all processes."""

  def __init__(self, config: config_lib.ExperimentConfig, workdir: str):
    self._logs = os.path.join(workdir, 'logs')
    self._output = log_directory(workdir)
    self._appended = _Appended()
    self._notes: Set[str] = set()
    self._names: Dict[str, List[str]] = {}  # Of columns.
    for _ in (*self._new_rows('actor_*'), *self._new_rows('evaluator')):
      pass  # An earlier run's.
    self._progress = run_loggers.Progress(config.num_steps)
    self.line = self._progress.line
    self.close = self._progress.close

  def show(self):
    """Shows what is new."""
    for row in sorted(self._new_rows('actor_*'), key=lambda row: row['actor_steps']):
      # All actors' together, not one's.
      row['steps_per_second'] = row['actor_steps'] / max(row['train_seconds'], 1.0)
      self._progress.episode(row)
    for row in self._new_rows('evaluator'):
      self._progress.evaluation(row)
    for path in _matching(self._output, os.path.join('*', '*')):
      for line in self._appended.text(path).splitlines():
        if line.startswith(notices.NOTE) and line not in self._notes:
          self._notes.add(line)  # Every process may say it.
          self.line(line)
        elif _WARNING.match(line):
          self.line(f'{os.path.relpath(path, self._output)}: {line}')

  def _new_rows(self, label: str) -> Iterator[Dict[str, Any]]:
    for path in _matching(self._logs, f'{label}.csv'):
      lines = self._appended.text(path).splitlines()
      if lines and path not in self._names:
        self._names[path] = lines.pop(0).split(',')
      for row in csv.DictReader(lines, self._names.get(path)):
        if None not in row and None not in row.values():  # Torn by a full disk.
          yield {k: int(v) if v.isdigit() else float(v) for k, v in row.items()}


class Starvation:
  """Reports starvation: replay's rate limiter has let nobody pass for long."""

  _EVERY = 5.0  # Seconds between two looks.

  def __init__(self, replay_address: str, timeout: float):
    """Initializes the report.

    Args:
      replay_address: of a server with one table.
      timeout: seconds.
    """
    self._client = reverb.Client(replay_address)
    self._timeout = timeout
    self._passed = None
    self._since = self._looked = time.time()

  def line(self) -> Optional[str]:
    """Returns a sentence when it is due."""
    now = time.time()
    if now - self._looked < min(self._EVERY, self._timeout / 4):
      return None
    self._looked = now
    try:
      (table,) = self._client.server_info(timeout=1).values()
    except Exception:  # Not up yet, or gone, which the launcher will see.
      waited = now - self._since
      if self._passed is not None or waited < self._timeout:
        return None
      self._since = now
      return f'WARNING: replay has not answered for {waited:.0f} s: it starts, or hangs.'
    limiter = table.rate_limiter_info
    inserts, samples = limiter.insert_stats, limiter.sample_stats
    passed = (inserts.completed, samples.completed)
    if passed != self._passed:
      self._passed, self._since = passed, now
      return None
    waited = now - self._since
    if waited < self._timeout:
      return None
    self._since = now
    # How far inserts are ahead, which the limiter keeps between two bounds.
    ahead = inserts.completed * limiter.samples_per_insert - samples.completed
    if table.current_size < limiter.min_size_to_sample or ahead <= limiter.min_diff + 1.0:
      return (
        f'WARNING: the learner has waited {waited:.0f} s for actors to write to replay '
        f'({table.current_size} transitions; it begins at {limiter.min_size_to_sample}).'
      )
    if ahead + limiter.samples_per_insert >= limiter.max_diff:
      return (
        f'WARNING: actors have waited {waited:.0f} s for the learner to draw from replay '
        f'({limiter.samples_per_insert:g} samples an insert). Its step may be compiling.'
      )
    return None


class _Appended:
  """Text that has been appended to files since the last look."""

  def __init__(self):
    self._seen: Dict[str, int] = {}

  def text(self, path: str) -> str:
    """Returns whole lines: the last one may be half written."""
    seen = self._seen.setdefault(path, 0)
    with open(path, 'rb') as file:
      file.seek(seen)
      lines, newline, _ = file.read().rpartition(b'\n')
    self._seen[path] += len(lines + newline)
    return (lines + newline).decode('utf-8', 'replace')


def _matching(directory: str, pattern: str) -> List[str]:
  return sorted(glob.glob(os.path.join(glob.escape(directory), pattern)))
