"""Evaluations of runs: read from run directories, tabulated, compared.

`Runs` are {task: {agent: [a run of each seed]}}. Neither TensorFlow nor matplotlib is
imported here.
"""

import collections
import csv
import os
import re
from typing import (
  Any,
  Callable,
  Dict,
  List,
  Mapping,
  NamedTuple,
  Optional,
  Sequence,
  Tuple,
)
import warnings

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


class Published(NamedTuple):
  """A published curve.

  Attributes:
    steps: environment steps, [T].
    mean: of the return over seeds, [T].
    std: standard deviation over seeds, [T].
    seeds: their number.
    action_repeat: simulator steps, counted each, that take an action; '' if not stated.
  """

  steps: np.ndarray
  mean: np.ndarray
  std: np.ndarray
  seeds: str
  action_repeat: str


Runs = Dict[str, Dict[str, List[Run]]]
Interval = Tuple[float, float, float]  # Estimate, lower and upper end.


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


def read_references(path: str, agents: Sequence[str]) -> Dict[str, Dict[str, Published]]:
  """Reads published curves from a CSV file: {agent: {<env>_<task>: curve}}.

  Raises:
    ConfigError: nothing is published of one of the agents.
  """
  rows = collections.defaultdict(lambda: collections.defaultdict(list))
  with open(path, encoding='utf-8') as file:
    for row in csv.DictReader(file):
      rows[row['agent']][row['task']].append(row)
  for agent in agents:
    if agent not in rows:
      raise config_lib.ConfigError(
        f'references={",".join(agents)!r} is not valid: {agent!r} is none of '
        f'{", ".join(sorted(rows))}.'
      )
  return {
    agent: {
      task: _published(sorted(points, key=lambda row: float(row['env_steps'])))
      for task, points in rows[agent].items()
    }
    for agent in agents
  }


def _published(rows: Sequence[Mapping[str, str]]) -> Published:
  column = lambda name: np.array([float(row[name]) for row in rows])
  return Published(
    column('env_steps'),
    column('mean_return'),
    column('std_over_seeds'),
    rows[-1]['seeds'],
    rows[-1]['action_repeat'],
  )


def check_cpu_seconds(runs: Runs):
  """Raises ConfigError if a run's log does not have the CPU time of training."""
  for task, agent, seeds in _each(runs):
    if any(np.isnan(run.cpu_seconds).any() for run in seeds):
      raise config_lib.ConfigError(
        f"against='cpu_seconds' is not valid: {agent} on {task} has a log without CPU "
        'time, of a distributed run or of an earlier version; steps would be valid.'
      )


def aligned(seeds: Sequence[Run], axis: str = 'steps') -> Tuple[np.ndarray, np.ndarray]:
  """Interpolates runs at the same points of an axis, as far as all of them have come.

  Args:
    seeds: E runs.
    axis: 'steps', then the points are the first seed's evaluations, or 'cpu_seconds',
      then as many at equal distances.

  Returns:
    The points [T] and the returns [E, T].
  """
  along = [getattr(run, axis) for run in seeds]
  points, end = along[0], min(values[-1] for values in along)
  if axis == 'cpu_seconds':
    points = np.linspace(0.0, end, len(points))
  points = points[points <= end]
  each = [np.interp(points, x, run.returns) for x, run in zip(along, seeds)]
  return points, np.stack(each)


def interquartile_mean(values: np.ndarray) -> np.ndarray:
  """Returns the mean over the first axis without the lowest and the highest quarter.

  Of fewer than four values no whole value is in a quarter: it is their mean.
  """
  num_cut = len(values) // 4
  return np.sort(values, axis=0)[num_cut : len(values) - num_cut].mean(axis=0)


def bootstrap_interval(
  values: np.ndarray, repeats: int = 2_000
) -> Tuple[np.ndarray, np.ndarray]:
  """Returns the 95% percentile bootstrap interval of `interquartile_mean`; seeded.

  Args:
    values: [E, T]; the E seeds are resampled, each with all of its T values.
    repeats: number of resamples.

  Returns:
    The lower and the upper ends, [T] each.
  """
  resamples = np.random.default_rng(0).integers(len(values), size=[repeats, len(values)])
  means = [interquartile_mean(values[chosen]) for chosen in resamples]
  low, high = np.quantile(means, [0.025, 0.975], axis=0)
  return low, high


def table(runs: Runs, num_last: int) -> str:
  """Formats, as Markdown, returns at quarters of the run and of its last evaluations.

  Means over seeds, with the standard deviation over seeds (of a sample, n - 1) where
  there are several.
  """
  lines = [
    '| task | agent | seeds | steps | 25% | 50% | 75% | end | mean of the last '
    f'{num_last} |',
    '|---|---|---|---|---|---|---|---|---|',
  ]
  for task, agent, seeds in _each(runs):
    last = min(run.steps[-1] for run in seeds)
    columns = [
      [run.returns[np.argmin(np.abs(run.steps - share * last))] for run in seeds]
      for share in (0.25, 0.5, 0.75, 1.0)
    ]
    columns.append([_final_return(run, last, num_last) for run in seeds])
    cells = ' | '.join(map(_mean_and_std, columns))
    lines.append(f'| {task} | `{agent}` | {len(seeds)} | {last:,.0f} | {cells} |')
  return '\n'.join(lines)


def reached(runs: Runs, returns: Sequence[float]) -> str:
  """Formats, as Markdown, steps and seconds to the first evaluation at each return.

  Of the median seed (of an even number the later one), one that does not get there being
  the last; as far as all seeds have come.
  """
  lines = [
    '| task | agent | return | seeds there | of steps | steps | seconds of training |',
    '|---|---|---|---|---|---|---|',
  ]
  for task, agent, seeds in _each(runs):
    last = min(run.steps[-1] for run in seeds)
    for aim in returns:
      first = sorted(_first_at(run, aim, last) for run in seeds)
      count = f'{int(np.isfinite(first)[:, 0].sum())} of {len(seeds)}'
      steps, seconds = first[len(first) // 2]
      cells = f'{steps:,.0f} | {seconds:,.0f}' if np.isfinite(steps) else '- | -'
      lines.append(f'| {task} | `{agent}` | {aim:g} | {count} | {last:,.0f} | {cells} |')
  return '\n'.join(lines)


def aggregate(runs: Runs, num_last: int) -> Dict[str, np.ndarray]:
  """Returns {agent: [seeds, tasks]}, returns / 1000, of agents with runs on all tasks.

  A run's value is the mean of its last evaluations, as far as all of these agents' runs
  on the task have come; surplus seeds are left out.
  """
  tasks = sorted(runs)
  everywhere = set.intersection(*(set(by_agent) for by_agent in runs.values()))
  chosen = {}
  for agent in sorted(everywhere):
    num_seeds = min(len(runs[task][agent]) for task in tasks)
    if num_seeds > 1:
      chosen[agent] = [runs[task][agent][:num_seeds] for task in tasks]
  last = [
    min(run.steps[-1] for seeds in column for run in seeds)
    for column in zip(*chosen.values())
  ]
  return {
    agent: np.array(
      [
        [_final_return(run, end, num_last) / 1000.0 for run in seeds]
        for seeds, end in zip(column, last)
      ]
    ).T
    for agent, column in chosen.items()
  }


def compare(
  scores: Mapping[str, np.ndarray], repeats: int = 2_000
) -> Tuple[Dict[str, Interval], Dict[Tuple[str, str], Interval]]:
  """Estimates interquartile means, and probabilities of improvement of pairs of agents.

  Args:
    scores: `aggregate`'s.
    repeats: number of bootstrap resamples, stratified by task.

  Returns:
    {agent: mean} and {(agent, other): probability}, with 95% bootstrap intervals.
  """
  from rliable import library, metrics  # Slow to import.

  # Its bootstrap passes an argument by a name that is going out of use.
  warnings.filterwarnings('ignore', category=FutureWarning, module='arch')

  def estimate(values, function):
    points, intervals = library.get_interval_estimates(values, function, reps=repeats)
    return {
      key: tuple(map(float, (np.squeeze(points[key]), *np.ravel(intervals[key]))))
      for key in values
    }

  pairs = {(a, b): (scores[a], scores[b]) for a in scores for b in scores if a != b}
  state = np.random.get_state()
  np.random.seed(0)  # It draws from the global generator.
  try:
    means = estimate(dict(scores), lambda x: np.array([metrics.aggregate_iqm(x)]))
    return means, estimate(pairs, _probability_of_improvement)
  finally:
    np.random.set_state(state)


def comparison(
  means: Mapping[str, Interval], improvements: Mapping[Tuple[str, str], Interval]
) -> str:
  """Formats, as Markdown, two tables of what `compare` returns."""
  lines = [
    '| agent | interquartile mean of return / 1000 | 95% interval |',
    '|---|---|---|',
  ]
  for agent, (point, low, high) in means.items():
    lines.append(f'| `{agent}` | {point:.3f} | {low:.3f} to {high:.3f} |')
  lines += ['', '| better | than | probability | 95% interval |', '|---|---|---|---|']
  for (a, b), (point, low, high) in improvements.items():
    lines.append(f'| `{a}` | `{b}` | {point:.2f} | {low:.2f} to {high:.2f} |')
  return '\n'.join(lines)


def _each(runs: Runs):
  """Each (task, agent, seeds), in order."""
  for task, by_agent in sorted(runs.items()):
    for agent, seeds in sorted(by_agent.items()):
      yield task, agent, seeds


def _final_return(run: Run, end: float, num_last: int) -> float:
  """The mean return of the last evaluations up to the step `end`."""
  return np.mean(run.returns[run.steps <= end][-num_last:])


def _first_at(run: Run, aim: float, end: float) -> Tuple[float, float]:
  """Steps and seconds of the first evaluation at `aim` or above; infinite without."""
  indices = np.flatnonzero((run.returns >= aim) & (run.steps <= end))
  if not len(indices):
    return np.inf, np.inf
  return run.steps[indices[0]], run.seconds[indices[0]]


def _probability_of_improvement(better: np.ndarray, than: np.ndarray) -> float:
  """Computes what rliable's does, of [seeds, tasks] each, without its slow rank test."""
  better, than = better[:, np.newaxis], than[np.newaxis]
  return np.mean((better > than) + 0.5 * (better == than))


def _mean_and_std(values: Sequence[float]) -> str:
  spread = f' +- {np.std(values, ddof=1):.0f}' if len(values) > 1 else ''
  return f'{np.mean(values):.0f}{spread}'
