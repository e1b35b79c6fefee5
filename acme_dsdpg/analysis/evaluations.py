"""Evaluations of runs, read from run directories and grouped by task and agent.

Neither TensorFlow nor matplotlib is imported here.
"""

import collections
import os
import re
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from acme_dsdpg import config as config_lib
from acme_dsdpg.running import log_files, paths, run_directory


class Run(NamedTuple):
  """The evaluations of a run, [T] each.

  Attributes:
    steps: environment steps.
    returns: mean returns.
    seconds: of training.
    cpu_seconds: of training, of all threads; NaN where the log has none, as of
      distributed runs.
  """

  steps: np.ndarray
  returns: np.ndarray
  seconds: np.ndarray
  cpu_seconds: np.ndarray


# {task: {agent: [a run of each seed]}}.
Runs = Dict[str, Dict[str, List[Run]]]


def read_runs(
  given: Sequence[str], report: Callable[[str], None] = lambda line: None
) -> Runs:
  """Reads the runs in or below the directories given, each of them once.

  Runs of one agent are those whose configs say the same but for the seed and for what
  changes no result (`_FREE`). An agent is named by its runs' directories, NAME-seed0, or
  else by the preset; where two have one name, by how their settings differ as well.

  Args:
    given: paths of directories.
    report: shows a line about what is left out, or was not compared as it stands.

  Raises:
    ConfigError: a path has no run, or none that can be shown.
  """
  read, seen = [], set()  # A run may be below two of the paths.
  for path in given:
    found = _run_directories(path, report)
    if not found:
      raise config_lib.ConfigError(f'{path!r} has no run in it or below it.')
    for directory in found:
      if os.path.realpath(directory) not in seen:
        seen.add(os.path.realpath(directory))
        read.append(_read_run(directory, report))
  read = [run for run in read if run is not None]
  if not read:
    raise config_lib.ConfigError('None of these runs has been evaluated.')
  names = _name_agents(read)
  grouped = collections.defaultdict(list)
  for run in read:
    grouped[run.task, names[run.task, run.settings]].append(run)
  runs = collections.defaultdict(dict)
  for (task, name), members in grouped.items():
    members = _one_a_seed(members, report)
    _report_differences(f'{name} on {task}', members, report)
    runs[task][name] = [run.evaluations for run in members]
  return dict(runs)


# Fields that may differ between the runs of one agent.
_FREE = frozenset(
  (
    'env', 'task', 'action_noise', 'action_repeat', 'seed', 'num_steps', 'eval_every',
    'eval_episodes', 'log_every', 'checkpoint_every', 'num_threads', 'num_actors',
    'variable_update_period', 'jit_compile', *vars(config_lib.FaultLimits()),
  )
)  # fmt: skip
# Those of them that a figure should not hide.
_SAID = ('eval_episodes', 'num_actors')

_OF_A_RUN = ('config.json', 'logs')
_Settings = Tuple[Tuple[str, Any], ...]


class _ReadRun(NamedTuple):
  """A run, and what it is grouped by."""

  directory: str
  config: config_lib.ExperimentConfig
  settings: _Settings
  evaluations: Run

  @property
  def task(self) -> str:
    """The task's name, with what makes it another one."""
    config = self.config
    parts = [f'{config.env}-{config.task}']
    if config.action_noise:
      parts.append(f'action noise {config.action_noise:g}')
    if config.action_repeat > 1:
      parts.append(f'actions taken {config.action_repeat} times')
    return ', '.join(parts)

  @property
  def name(self) -> str:
    """The agent's, by the directory, as a sweep names it, or else by the preset."""
    named = re.fullmatch(r'(.+)-seed\d+', os.path.basename(self.directory))
    return named[1] if named else self.config.agent


def _run_directories(path: str, report: Callable[[str], None]) -> List[str]:
  """Finds the run directories in or below a path, through links as well."""
  top = paths.absolute(path, 'run directory')
  skip = lambda error: report(f'{error.filename!r} is left out: {error.strerror}')
  found, seen = [], set()
  for directory, below, _ in os.walk(top, onerror=skip, followlinks=True):
    if os.path.realpath(directory) in seen:  # A link upwards has no end.
      below.clear()
      continue
    seen.add(os.path.realpath(directory))
    below.sort()
    if all(os.path.exists(os.path.join(directory, name)) for name in _OF_A_RUN):
      found.append(directory)
  return found


def _read_run(directory: str, report: Callable[[str], None]) -> Optional[_ReadRun]:
  """Reads one run; None, with a line, where there is nothing to be read."""
  columns = ('actor_steps', 'episode_return', 'train_seconds')
  path = os.path.join(directory, 'logs/evaluator.csv')
  try:
    recorded = run_directory.load_recorded(directory)
    rows = log_files.read(path) if os.path.exists(path) else []
    table = np.array(
      [
        [*(row[name] for name in columns), row.get('train_cpu_seconds', np.nan)]
        for row in rows
      ]
    )
  except (config_lib.ConfigError, OSError, KeyError) as e:
    return report(f'{directory!r} is left out: {e}')
  if not rows:
    return report(f'{directory!r} is left out: it has not been evaluated yet')
  config = recorded.config
  # The last episode of a run that was interrupted ends a little after the others'.
  table[:, 0] = np.minimum(table[:, 0], config.num_steps)
  values = {**config_lib.flatten(config), **recorded.retired}
  plain, left_out = config_lib.plain, _FREE | config.dsdpg.unused_fields()
  settings = tuple((k, plain(v)) for k, v in sorted(values.items()) if k not in left_out)
  return _ReadRun(directory, config, settings, Run(*table.T))


def _name_agents(read: Sequence[_ReadRun]) -> Dict[Tuple[str, _Settings], str]:
  """Names the settings of each task, no two of them alike."""
  own = {}
  for run in read:  # The first directory names them all.
    own.setdefault((run.task, run.settings), run.name)
  alike = collections.defaultdict(list)
  for (task, settings), name in own.items():
    alike[task, name].append(dict(settings))
  result = {}
  for (task, settings), name in own.items():
    differing = [
      f'{key}={value}'
      for key, value in settings
      if any(other.get(key) != value for other in alike[task, name])
    ]
    result[task, settings] = ', '.join([name, *differing])
  return result


def _one_a_seed(
  runs: Sequence[_ReadRun], report: Callable[[str], None]
) -> List[_ReadRun]:
  """Leaves out all but the longest run of a seed: copies are no further evidence."""
  longest = {}
  for run in runs:
    seed = run.config.seed
    other = longest.setdefault(seed, run)
    if other is run:
      continue
    if run.evaluations.steps[-1] > other.evaluations.steps[-1]:
      longest[seed], run, other = run, other, run
    report(
      f'{run.directory!r} is left out: it has the settings and the seed of '
      f'{other.directory!r}'
    )
  return list(longest.values())


def _report_differences(
  what: str, runs: Sequence[_ReadRun], report: Callable[[str], None]
):
  """Says where runs that are shown as one agent were not measured alike."""
  for field in _SAID:
    values = sorted({config_lib.flatten(run.config)[field] for run in runs})
    if len(values) > 1:
      report(f'{what}: {field} is {" or ".join(map(str, values))}')
  last = sorted({run.evaluations.steps[-1] for run in runs})
  if last[-1] - last[0] >= max(run.config.eval_every for run in runs):
    report(
      f'{what}: runs have come to step {last[0]:,.0f} to {last[-1]:,.0f}, and are '
      'compared as far as all have'
    )
