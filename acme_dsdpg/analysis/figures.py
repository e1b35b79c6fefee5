"""Figures of runs: learning curves, and agents compared over tasks and seeds."""

from typing import List, Mapping, Tuple

import matplotlib

matplotlib.use('Agg')
import matplotlib.pyplot as plt

from acme_dsdpg.agent import presets
from acme_dsdpg.analysis import curves, evaluations, published

SUFFIXES = ('.png', '.pdf')  # Of a figure's files.
_PANEL = (5.0, 4.0)  # Width and height, inches.
_FONT_SIZE = 8  # The legend's, points.
_MARKERS = 'osv^DX*P'  # Of published curves.
_LABELS = {
  'steps': 'environment steps',
  'cpu_seconds': 'CPU seconds of acting and learning',
}


def learning_curves(
  runs: evaluations.Runs,
  references: Mapping[str, Mapping[str, published.Curve]],
  axis: str = 'steps',
):
  """Draws a panel for each task, with the legend of all below.

  Of several seeds a line is the interquartile mean, its band the 95% bootstrap interval;
  a published curve is dashed, with bars of one standard deviation.

  Args:
    runs: `evaluations.read_runs`'s.
    references: `published.read`'s; steps only.
    axis: what returns are drawn against, as in `curves.aligned`.

  Returns:
    The figure.
  """
  agents = sorted({agent for by_agent in runs.values() for agent in by_agent})
  colours = _colours(agents)
  labels = {agent: f'{agent} ({_seed_counts(runs, agent)})' for agent in agents}
  figure, axes = plt.subplots(1, len(runs), squeeze=False, layout='constrained')
  for panel, (task, by_agent) in zip(axes[0], sorted(runs.items())):
    for agent, seeds in sorted(by_agent.items()):
      _curve(panel, seeds, axis, color=colours[agent], label=labels[agent])
    if axis == 'steps':
      last = max(run.steps[-1] for seeds in by_agent.values() for run in seeds)
      for i, (name, by_task) in enumerate(references.items()):
        curve = by_task.get(task.replace('-', '_'))
        if curve is not None:
          _published(panel, curve, last, name, _MARKERS[i % len(_MARKERS)])
    panel.set(title=task, xlabel=_LABELS[axis], ylabel='evaluation return')
    if panel.dataLim.ymin >= 0.0:
      panel.set_ylim(0.0)
    panel.grid(alpha=0.3)
  _add_legend(figure, axes[0])
  return figure


def comparison(
  means: Mapping[str, curves.Interval],
  improvements: Mapping[Tuple[str, str], curves.Interval],
):
  """Draws the intervals of `curves.compare`, a row for each agent and for each pair."""
  figure, axes = plt.subplots(
    1, 2, figsize=(11, 1.5 + 0.25 * len(improvements)), layout='constrained'
  )
  pairs = {f'{a} > {b}': interval for (a, b), interval in improvements.items()}
  for axis, intervals, label in (
    (axes[0], means, 'interquartile mean, return / 1000'),
    (axes[1], pairs, 'probability of improvement'),
  ):
    for i, (point, low, high) in enumerate(intervals.values()):
      axis.plot(
        [low, high], [i, i], lw=6, alpha=0.4, color='tab:blue', solid_capstyle='butt'
      )
      axis.plot(point, i, '|', ms=14, color='k')
    axis.set_yticks(range(len(intervals)), list(intervals))
    axis.set_xlabel(label)
    axis.grid(alpha=0.3)
  axes[1].axvline(0.5, color='0.5', ls='--')
  return figure


def save(figure, path: str) -> List[str]:
  """Writes a figure as `path` with each of `SUFFIXES`; returns the files' paths."""
  paths = [f'{path}{suffix}' for suffix in SUFFIXES]
  for name in paths:
    figure.savefig(name, dpi=150)
  return paths


def _curve(panel, seeds, axis, color, label):
  points, returns = curves.aligned(seeds, axis)
  marker = '.' if len(points) == 1 else None  # A line of one point is not seen.
  mean = curves.interquartile_mean(returns)
  panel.plot(points, mean, color=color, label=label, marker=marker)
  if len(seeds) > 1:
    low, high = curves.bootstrap_interval(returns)
    panel.fill_between(points, low, high, color=color, alpha=0.2, lw=0)


def _published(panel, curve, last, name, marker):
  shown = curve.steps <= last
  if not shown.any():
    return
  label = f'{name}, published: mean of {curve.seeds} seeds'
  if curve.action_repeat:
    label += f', each action {curve.action_repeat} times'
  panel.errorbar(
    curve.steps[shown], curve.mean[shown], curve.std[shown], color='0.4', ls='--',
    marker=marker, capsize=3, label=label,
  )  # fmt: skip


def _colours(agents):
  """The same colour for the same agent in every figure; variants take others."""
  # The default agent's is the first.
  known = sorted(presets.AGENTS, key=lambda agent: agent != presets.DEFAULT_AGENT)
  palette = matplotlib.colormaps['tab20'].colors
  order = known + [agent for agent in agents if agent not in known]
  # The ten full colours come first, then the ten pale ones.
  return {agent: palette[(2 * i + i // 10) % 20] for i, agent in enumerate(order)}


def _seed_counts(runs, agent):
  """Says how many seeds an agent has; tasks may differ in it."""
  counts = {len(by_agent[agent]) for by_agent in runs.values() if agent in by_agent}
  least, most = min(counts), max(counts)
  plural = 's' if most > 1 else ''
  return f'{least} to {most} seeds' if least < most else f'{most} seed{plural}'


def _add_legend(figure, axes):
  """Puts the legend below the panels, and makes the figure as high as that needs."""
  handles = {}
  for axis in axes:
    handles.update({label: h for h, label in zip(*axis.get_legend_handles_labels())})
  width = _PANEL[0] * len(axes)
  # A letter takes 0.6 of the font's size or less; the line and the space before it, 5.
  column = (0.6 * max(map(len, handles)) + 5.0) * _FONT_SIZE / 72
  num_columns = max(1, min(len(handles), int(width / column)))
  num_rows = -(-len(handles) // num_columns)
  figure.set_size_inches(width, _PANEL[1] + 1.3 * _FONT_SIZE / 72 * num_rows)
  figure.legend(
    handles.values(), handles, loc='outside lower center', ncols=num_columns,
    fontsize=_FONT_SIZE,
  )  # fmt: skip
