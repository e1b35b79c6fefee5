"""Learning curves of runs: `python launchers/plot.py RUN... --output=curves`.

A RUN is a run directory, or a directory with run directories somewhere below. One
panel a task, with noisy actions another; runs of one agent are a mean and a band of one
deviation over seeds; published curves (results/references) are dashed. The same numbers
are printed as a table.

Where agents have runs on the same tasks, two seeds or more each, OUTPUT_aggregate shows
them together: interquartile mean over runs and tasks with stratified bootstrap intervals,
and the probability that a run of one is better than a run of another (Agarwal et al.,
2021).

`--reach=400,800` prints when each agent's evaluations first reach these returns, in
environment steps and in seconds of acting and learning.
"""

import collections
import csv
import pathlib
import re
import warnings

from acme_dsdpg.running import quiet

quiet.silence()

from absl import flags
import matplotlib

matplotlib.use('Agg')
import matplotlib.pyplot as plt
import numpy as np

from acme_dsdpg import config as config_lib
from acme_dsdpg.running import command_line, log_files, run_directory

_OUTPUT = flags.DEFINE_string(
  'output', 'curves', 'Files to write, without their .png and .pdf.'
)
_LAST = flags.DEFINE_integer(
  'last', 5, "Evaluations at a run's end whose mean is tabulated and aggregated.", 1
)
_REFERENCES = flags.DEFINE_list('references', ['ddpg'], 'Published agents to show.')
_REACH = flags.DEFINE_list('reach', [], 'Returns; when they are reached is printed.')
_REFERENCE_FILE = (
  pathlib.Path(__file__).resolve().parents[1] / 'results/references/reference_returns.csv'
)


def read_runs(paths):
  """{task: {agent: [(steps, returns, seconds) of each seed]}} below `paths`."""
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
      runs[task][agent].append(np.array(rows).T)
  if not runs:
    raise config_lib.ConfigError('None of these runs has been evaluated yet.')
  return runs


def read_reference(task, agent):
  """Published (steps, mean, deviation) of a task, or None."""
  with open(_REFERENCE_FILE, encoding='utf-8') as f:
    rows = [
      [float(r[k]) for k in ('env_steps', 'mean_return', 'std_over_seeds')]
      for r in csv.DictReader(f)
      if r['task'] == task.replace('-', '_') and r['agent'] == agent
    ]
  return np.array(sorted(rows)).T if rows else None


def check_references(agents):
  """Raises ConfigError on agents of whom nothing is published here."""
  with open(_REFERENCE_FILE, encoding='utf-8') as f:
    valid = sorted({row['agent'] for row in csv.DictReader(f)})
  for agent in agents:
    if agent not in valid:
      raise config_lib.ConfigError(
        f'references={",".join(agents)!r} is not valid: {agent!r} is none of '
        f'{", ".join(valid)}.'
      )


def plot(runs, references):
  """The figure."""
  agents = sorted({agent for curves in runs.values() for agent in curves})
  # The same colour for the same agent in every figure; variants take others.
  known = list(config_lib.AGENTS)
  palette = matplotlib.colormaps['tab20'].colors
  order = known + [a for a in agents if a not in known]
  colours = {a: palette[(2 * i + i // 10) % 20] for i, a in enumerate(order)}
  labels = {agent: f'{agent} ({seed_counts(runs, agent)})' for agent in agents}
  figure, axes = plt.subplots(
    1, len(runs), figsize=(5 * len(runs), 4.2), squeeze=False, layout='constrained'
  )
  for axis, (task, curves) in zip(axes[0], sorted(runs.items())):
    for agent, seeds in sorted(curves.items()):
      # As far as all seeds have come, at the steps of the first.
      steps = seeds[0][0]
      steps = steps[steps <= min(s[-1] for s, *_ in seeds)]
      returns = np.stack([np.interp(steps, s, r) for s, r, _ in seeds])
      axis.plot(steps, returns.mean(0), color=colours[agent], label=labels[agent])
      if len(seeds) > 1:
        mean, spread = returns.mean(0), returns.std(0, ddof=1)
        low, high = mean - spread, mean + spread
        axis.fill_between(steps, low, high, color=colours[agent], alpha=0.2, lw=0)
    last = max(steps[-1] for seeds in curves.values() for steps, *_ in seeds)
    for name in references:
      published = read_reference(task, name)
      if published is not None:
        published = published[:, published[0] <= last]
        axis.errorbar(
          published[0], published[1], published[2], color='0.4', ls='--', capsize=3,
          label=f'{name}, published (10 seeds)',
        )  # fmt: skip
    axis.set(title=task, xlabel='environment steps', ylabel='evaluation return')
    axis.set_ylim(0)
    axis.grid(alpha=0.3)
  handles = {}
  for axis in axes[0]:
    handles.update({label: h for h, label in zip(*axis.get_legend_handles_labels())})
  figure.legend(
    handles.values(), handles, loc='outside lower center', ncols=4, fontsize=8
  )
  return figure


def seed_counts(runs, agent):
  """In words; tasks may differ in it."""
  counts = {len(curves[agent]) for curves in runs.values() if agent in curves}
  least, most = min(counts), max(counts)
  plural = 's' if most > 1 else ''
  return f'{least} to {most} seeds' if least < most else f'{most} seed{plural}'


def table(runs, num_last):
  """Markdown: the return at quarters of the run, and of the last so many evaluations.

  Means over seeds, with the deviation over seeds (of a sample, n - 1) where there are
  several.
  """
  lines = [
    '| task | agent | seeds | steps | 25% | 50% | 75% | end | mean of the last '
    f'{num_last} |',
    '|---|---|---|---|---|---|---|---|---|',
  ]

  def cell(values):
    spread = f' +- {np.std(values, ddof=1):.0f}' if len(values) > 1 else ''
    return f'{np.mean(values):.0f}{spread}'

  for task, curves in sorted(runs.items()):
    for agent, seeds in sorted(curves.items()):
      last = min(steps[-1] for steps, *_ in seeds)
      cells = []
      for share in (0.25, 0.5, 0.75, 1.0):
        cells.append(
          cell([r[np.argmin(np.abs(steps - share * last))] for steps, r, _ in seeds])
        )
      cells.append(cell([np.mean(r[steps <= last][-num_last:]) for steps, r, _ in seeds]))
      lines.append(
        f'| {task} | `{agent}` | {len(seeds)} | {last:,.0f} | {" | ".join(cells)} |'
      )
  return '\n'.join(lines)


def reached(runs, returns):
  """Markdown: steps and seconds to the first evaluation at or above each return.

  Of the median seed (of an even number the later one), one that does not get there being
  the last; as far as all seeds have come.
  """
  lines = [
    '| task | agent | return | seeds there | of steps | steps | seconds of training |',
    '|---|---|---|---|---|---|---|',
  ]
  for task, curves in sorted(runs.items()):
    for agent, seeds in sorted(curves.items()):
      last = min(steps[-1] for steps, *_ in seeds)
      for aim in returns:
        there = [np.flatnonzero((r >= aim) & (steps <= last)) for steps, r, _ in seeds]
        when = [
          (steps[i[0]], seconds[i[0]]) if len(i) else (np.inf, np.inf)
          for (steps, _, seconds), i in zip(seeds, there)
        ]
        steps, seconds = sorted(when)[len(when) // 2]
        cells = f'{steps:,.0f} | {seconds:,.0f}' if np.isfinite(steps) else '- | -'
        count = f'{sum(map(bool, map(len, there)))} of {len(seeds)}'
        lines.append(
          f'| {task} | `{agent}` | {aim:g} | {count} | {last:,.0f} | {cells} |'
        )
  return '\n'.join(lines)


def aggregate(runs, num_last):
  """{agent: [seeds, tasks]} of returns / 1000, of agents that ran on all the tasks.

  A run's value is the mean of its last evaluations, as far as all of these agents' runs
  on the task have come; surplus seeds are left out.
  """
  tasks = sorted(runs)
  everywhere = set.intersection(*(set(curves) for curves in runs.values()))
  chosen = {}
  for agent in sorted(everywhere):
    num_seeds = min(len(runs[task][agent]) for task in tasks)
    if num_seeds > 1:
      chosen[agent] = [runs[task][agent][:num_seeds] for task in tasks]
  last = [
    min(steps[-1] for seeds in column for steps, *_ in seeds)
    for column in zip(*chosen.values())
  ]
  score = lambda steps, returns, end: np.mean(returns[steps <= end][-num_last:]) / 1000.0
  return {
    agent: np.array(
      [[score(s, r, end) for s, r, _ in seeds] for seeds, end in zip(column, last)]
    ).T
    for agent, column in chosen.items()
  }


def compare(scores, repeats=2_000):
  """Interquartile means, and probabilities of improvement of each over each other.

  Returns:
    {agent: (mean, low, high)} and {(agent, other): (probability, low, high)}, 95%.
  """
  from rliable import library, metrics  # Slow to import.

  # Its bootstrap passes an argument by a name that is going out of use.
  warnings.filterwarnings('ignore', category=FutureWarning, module='arch')
  np.random.seed(0)  # It draws from the global generator.

  def estimate(values, function):
    points, intervals = library.get_interval_estimates(values, function, reps=repeats)
    return {
      key: tuple(map(float, (np.squeeze(points[key]), *np.ravel(intervals[key]))))
      for key in values
    }

  means = estimate(scores, lambda x: np.array([metrics.aggregate_iqm(x)]))
  pairs = {(a, b): (scores[a], scores[b]) for a in scores for b in scores if a != b}
  named = {f'{a},{b}': value for (a, b), value in pairs.items()}
  estimates = estimate(named, metrics.probability_of_improvement)
  return means, {tuple(key.split(',')): value for key, value in estimates.items()}


def plot_aggregate(means, improvements):
  """Intervals, one row an agent and one a pair."""
  figure, axes = plt.subplots(
    1, 2, figsize=(11, 1.5 + 0.25 * len(improvements)), layout='constrained'
  )
  named = {f'{a} > {b}': v for (a, b), v in improvements.items()}
  for axis, values, label in (
    (axes[0], means, 'interquartile mean, return / 1000'),
    (axes[1], named, 'probability of improvement'),
  ):
    for i, (point, low, high) in enumerate(values.values()):
      axis.plot(
        [low, high], [i, i], lw=6, alpha=0.4, color='tab:blue', solid_capstyle='butt'
      )
      axis.plot(point, i, '|', ms=14, color='k')
    axis.set_yticks(range(len(values)), list(values))
    axis.set_xlabel(label)
    axis.grid(alpha=0.3)
  axes[1].axvline(0.5, color='0.5', ls='--')
  return figure


def main(*paths):
  """Flags in, a table and two files out."""
  aims, output = command_line.numbers(_REACH), command_line.figure_path(_OUTPUT)
  check_references(_REFERENCES.value)
  runs = read_runs(paths)
  figure = plot(runs, _REFERENCES.value)
  print(table(runs, _LAST.value))
  if aims:
    print(f'\n{reached(runs, aims)}')
  save(figure, output)
  scores = aggregate(runs, _LAST.value)
  if len(scores) > 1:
    means, improvements = compare(scores)
    print(
      '\n| agent | interquartile mean of return / 1000 | 95% interval |\n|---|---|---|'
    )
    for agent, (point, low, high) in means.items():
      print(f'| `{agent}` | {point:.3f} | {low:.3f} to {high:.3f} |')
    print('\n| better | than | probability | 95% interval |\n|---|---|---|---|')
    for (a, b), (point, low, high) in improvements.items():
      print(f'| `{a}` | `{b}` | {point:.2f} | {low:.2f} to {high:.2f} |')
    save(plot_aggregate(means, improvements), f'{output}_aggregate')


def save(figure, path):
  """Writes PNG and PDF, and says where."""
  for suffix in ('png', 'pdf'):
    figure.savefig(f'{path}.{suffix}', dpi=150)
    print(f'{path}.{suffix}')


if __name__ == '__main__':
  command_line.run(main, 'at least one run directory...')
