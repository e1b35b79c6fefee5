"""Evaluations of runs: read from run directories, tabulated, compared.

`Runs` are {task: {agent: [a run of each seed]}}. Neither TensorFlow nor matplotlib is
imported here.
"""

import collections
import csv
import pathlib
import re
from typing import Dict, List, Mapping, NamedTuple, Sequence, Tuple
import warnings

import numpy as np

from acme_dsdpg import config as config_lib
from acme_dsdpg.running import log_files, run_directory


class Run(NamedTuple):
  """The evaluations of a run, [T] each: environment steps, returns, training seconds."""

  steps: np.ndarray
  returns: np.ndarray
  seconds: np.ndarray


class Published(NamedTuple):
  """A published curve, [T] each: environment steps, mean and standard deviation."""

  steps: np.ndarray
  mean: np.ndarray
  std: np.ndarray


Runs = Dict[str, Dict[str, List[Run]]]
Interval = Tuple[float, float, float]  # Estimate, lower and upper end.


def read_runs(paths: Sequence[str]) -> Runs:
  """Reads the runs in or below the directories `paths`, each of them once.

  Raises:
    ConfigError: a path has no run, or no run has been evaluated.
  """
  runs = collections.defaultdict(lambda: collections.defaultdict(list))
  seen = set()  # A run may be below two of the paths.
  for path in paths:
    found = sorted(pathlib.Path(path).resolve().rglob('logs/evaluator.csv'))
    if not found:
      raise config_lib.ConfigError(f'{path!r} has no run with logs/evaluator.csv.')
    for file in (f for f in found if f not in seen):
      seen.add(file)
      config = run_directory.load(str(file.parents[1]))
      rows = [
        [r[k] for k in ('actor_steps', 'episode_return', 'train_seconds')]
        for r in log_files.read(str(file))
      ]
      for row in rows:
        # The last episode of a run that was interrupted ends a little after the others'.
        row[0] = min(row[0], config.num_steps)
      if not rows:  # It has only begun.
        continue
      # A sweep's variants of one preset differ in the name before the seed.
      name = re.fullmatch(r'(.+)-seed\d+', file.parents[1].name)
      agent = name[1] if name else config.agent
      task = f'{config.env}-{config.task}'
      if config.action_noise:  # Another task, of which nothing is published.
        task += f', action noise {config.action_noise:g}'
      runs[task][agent].append(Run(*np.array(rows).T))
  if not runs:
    raise config_lib.ConfigError('None of these runs has been evaluated yet.')
  return {task: dict(by_agent) for task, by_agent in runs.items()}


def read_references(path: str, agents: Sequence[str]) -> Dict[str, Dict[str, Published]]:
  """Reads published curves from a CSV file: {agent: {<env>_<task>: curve}}.

  Raises:
    ConfigError: nothing is published of one of the agents.
  """
  rows = collections.defaultdict(lambda: collections.defaultdict(list))
  with open(path, encoding='utf-8') as file:
    for row in csv.DictReader(file):
      rows[row['agent']][row['task']].append(
        [float(row[k]) for k in ('env_steps', 'mean_return', 'std_over_seeds')]
      )
  for agent in agents:
    if agent not in rows:
      raise config_lib.ConfigError(
        f'references={",".join(agents)!r} is not valid: {agent!r} is none of '
        f'{", ".join(sorted(rows))}.'
      )
  return {
    agent: {
      task: Published(*np.array(sorted(points)).T) for task, points in rows[agent].items()
    }
    for agent in agents
  }


def at_equal_steps(seeds: Sequence[Run]) -> Tuple[np.ndarray, np.ndarray]:
  """Returns the first seed's steps [T], as far as all have come, and returns [E, T]."""
  steps = seeds[0].steps
  steps = steps[steps <= min(run.steps[-1] for run in seeds)]
  return steps, np.stack([np.interp(steps, run.steps, run.returns) for run in seeds])


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
