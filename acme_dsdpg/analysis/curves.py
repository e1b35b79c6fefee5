"""Learning curves aligned, tabulated and compared. Matplotlib is not imported here."""

from typing import Dict, Mapping, Sequence, Tuple
import warnings

import numpy as np

from acme_dsdpg import config as config_lib
from acme_dsdpg.analysis.evaluations import Run, Runs

Interval = Tuple[float, float, float]  # Estimate, lower and upper end.


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
