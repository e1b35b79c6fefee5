"""Figs. 2-4 and 6-10, drawn from trained arms.

`DRAW[n]` takes the run directory, its settings, and the numbers of points drawn once.
"""

import collections
import os
from typing import Callable, Dict

import matplotlib

matplotlib.use('Agg')
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf

from acme_dsdpg.toy import arms as arms_lib
from acme_dsdpg.toy import experiment, inferred, problem
from acme_dsdpg.toy.arms import INPUT_NOISE, Arm

# The same colour for the same method everywhere; of a method, gradient information is
# the full line. Noise on the input has a shade of its own.
_COLOURS = {'cgmmn': '#d55e00', 'regression': '#0072b2', 'cvae': '#009e73'}
_LABELS = {'cgmmn': 'cGMMN', 'regression': 'regression', 'cvae': 'cVAE'}
_NOISE_COLOURS = ('#e69ac2', '#b8478a', '#5e1f47')
_TRUE = dict(color='0.6', label='true modes')
# Mean |f''| over [0, 5] of 2 sin x, and of the modes on average.
_TRUE_SECOND_DERIVATIVE = 2.0 * (3.0 + np.cos(5.0)) / 5.0
_AXES = {
  'joint_mmd': 'MMD of [f ; f′]',
  'gradient_error': 'squared error of E f′',
  'second_derivative': 'mean |f″|',
}


def _draw_predictions(number: int):
  """Figs. 2, 7 and 8: y and dy/dx over x, of the first seed, over the five modes."""

  def draw(directory, settings, num_points):
    figure, axes = _panels(1, 2)
    x = problem.grid(251)
    true = problem.modes(x)
    for column, values in enumerate((true.y, true.dy_dx[..., 0])):
      axes[0, column].plot(x[:, 0], values, color=_TRUE['color'])
      axes[0, column].plot([], [], **_TRUE)
      axes[0, column].set(xlabel='x', ylabel=('y', 'dy/dx')[column])
    for arm in arms_lib.FIGURES[number](num_points):
      model = experiment.restore(arm, settings.num_seeds, directory)
      if model.points is not None:  # The same for all arms.
        _, y, dy_dx = (values[0].numpy() for values in model.points)
        x_drawn = np.repeat(model.points.x[0], y.shape[1], axis=1)
        for column, values in enumerate((y, dy_dx[..., 0])):
          axes[0, column].plot(x_drawn, values, '.', ms=4, color='k', zorder=3)
        axes[0, 0].plot([], [], '.', ms=4, color='k', label='data')
      samples = model.samples(x, 8)[0].numpy()
      where = np.repeat(x, samples.shape[1], axis=1)
      style = _style(arm)
      if samples.shape[1] > 1:
        style.update(ls='none', marker='.', ms=2.5)
      for column in range(2):
        axes[0, column].plot(where.ravel(), samples[..., column].ravel(), **style)
    # A regression on few points may leave the picture.
    axes[0, 0].set_ylim(-6, 6)
    axes[0, 1].set_ylim(-8, 8)
    _legend(figure, axes)
    return figure

  return draw


def _draw_unlimited(directory, settings, num_points):
  """Fig. 3."""
  del num_points
  figure, axes = _panels(1, 2)
  for axis, metric in zip(axes[0], ('joint_mmd', 'gradient_error')):
    for arm in arms_lib.methods():
      _curve(axis, directory, arm, metric, **_style(arm))
    axis.set(xlabel='step', ylabel=_AXES[metric], yscale='log')
  axes[0, 0].set_yticks([0.05, 0.1, 0.2, 0.4, 0.8], ['0.05', '0.1', '0.2', '0.4', '0.8'])
  axes[0, 0].minorticks_off()
  _legend(figure, axes)
  return figure


def _draw_few_points(directory, settings, num_points):
  """Fig. 4: at the end against the number of points, and along training."""
  figure, axes = _panels(2, 2)
  shown = arms_lib.middle(num_points)
  for column, metric in enumerate(('gradient_error', 'second_derivative')):
    for arm in arms_lib.methods():
      points = [_with_points(arm, n) for n in num_points]
      _at_the_end(axes[0, column], directory, points, metric, **_style(arm))
      _curve(axes[1, column], directory, _with_points(arm, shown), metric, **_style(arm))
    _set_points(axes[0, column], num_points, metric)
    _reference(axes[0, column], metric)
    _reference(axes[1, column], metric)
    axes[1, column].set(
      xlabel=f'step, {shown} points', ylabel=_AXES[metric], yscale='log'
    )
  _legend(figure, axes)
  return figure


def _draw_inferred(directory, settings, num_points):
  """Fig. 6, and the error over x, which `figure_6.csv` keeps."""
  del num_points
  arm = Arm('cvae')
  model = experiment.restore(arm, settings.num_seeds, directory).trainer
  figure, axes = _panels(1, 3)
  drawn = problem.draw(tf.constant([0, -2]), 400)
  for column, true in enumerate((drawn.y, drawn.dy_dx[..., 0])):
    inferred_values = model.reconstruct(drawn.x, drawn.y)[0, ..., column]
    x = np.repeat(drawn.x, drawn.y.shape[-1], axis=1)
    axes[0, column].plot(np.ravel(x), np.ravel(true), '.', ms=2, **_TRUE)
    style = dict(color=_COLOURS['cvae'], label='reconstructed' if not column else '')
    axes[0, column].plot(np.ravel(x), np.ravel(inferred_values), '.', ms=2, **style)
    axes[0, column].set(xlabel='x', ylabel=('y', 'dy/dx, inferred')[column])
  x = problem.grid(501)
  errors = np.sqrt(inferred.errors(model, x, num_draws=32)[1])
  header = ','.join(['x', *(f'rmse_seed{i}' for i in range(len(errors)))])
  path = os.path.join(directory, 'figure_6.csv')
  np.savetxt(path, np.c_[x, errors.T], '%.5g', ',', header=header, comments='')
  style = dict(color=_COLOURS['cvae'], label='cVAE')
  _band(axes[0, 2], x[:, 0], errors, **style)
  collapsed = np.sqrt(2.0) * np.abs(np.cos(x[:, 0]))
  style = dict(color='0.5', ls='--', label='conditional mean')
  axes[0, 2].plot(x[:, 0], collapsed, **style)
  axes[0, 2].set(xlabel='x', ylabel='root mean squared error of dy/dx')
  _legend(figure, axes)
  return figure


def _draw_against_points(metric: str):
  """Figs. 9 and 10."""

  def draw(directory, settings, num_points):
    figure, axes = _panels(1, 1, width=7.0)  # The legend's.
    for arm in (
      Arm('regression'),
      Arm('regression', True),
      *(Arm('regression', input_noise=sigma) for sigma in INPUT_NOISE),
    ):
      points = [_with_points(arm, n) for n in num_points]
      _at_the_end(axes[0, 0], directory, points, metric, **_style(arm))
    _set_points(axes[0, 0], num_points, metric)
    _reference(axes[0, 0], metric)
    _legend(figure, axes, ncols=2)
    return figure

  return draw


DRAW: Dict[int, Callable] = {
  2: _draw_predictions(2),
  3: _draw_unlimited,
  4: _draw_few_points,
  6: _draw_inferred,
  7: _draw_predictions(7),
  8: _draw_predictions(8),
  9: _draw_against_points('gradient_error'),
  10: _draw_against_points('second_derivative'),
}


def _with_points(arm: Arm, num_points: int) -> Arm:
  return Arm(arm.method, arm.sobolev, num_points, arm.input_noise)


def _style(arm: Arm) -> Dict[str, str]:
  colour, label = _COLOURS[arm.method], _LABELS[arm.method]
  if arm.input_noise:
    colour = _NOISE_COLOURS[INPUT_NOISE.index(arm.input_noise)]
    return dict(color=colour, ls='-', label=f'{label}, input noise {arm.input_noise:g}')
  if arm.sobolev:
    return dict(color=colour, ls='-', label=f'Sobolev {label}')
  return dict(color=colour, ls='--', label=label)


def _panels(rows: int, columns: int, width: float = 4.6):
  return plt.subplots(
    rows, columns, figsize=(width * columns, 3.3 * rows + 0.5), squeeze=False,
    layout='constrained',
  )  # fmt: skip


def _by_step(directory: str, arm: Arm, metric: str):
  """Steps [T] and values [E, T] of an arm's metric."""
  seeds = collections.defaultdict(list)
  for row in experiment.read_metrics(directory, arm):
    seeds[row['seed']].append((row['step'], row[metric]))
  curves = np.array([seeds[seed] for seed in sorted(seeds)])
  return curves[0, :, 0], curves[..., 1]


def _reference(axis, metric):
  """The true mean |f''|, which smoother is not better than."""
  if metric == 'second_derivative':
    axis.axhline(_TRUE_SECOND_DERIVATIVE, color='0.6', ls=':', label='truth')


def _curve(axis, directory, arm, metric, **style):
  _band(axis, *_by_step(directory, arm, metric), **style)


def _at_the_end(axis, directory, arms, metric, **style):
  ends = [experiment.at_the_end(directory, arm, metric) for arm in arms]
  _band(axis, [arm.num_points for arm in arms], np.stack(ends, axis=1), **style)


def _band(axis, x, values, **style):
  """Mean over seeds, and the range of the seeds."""
  axis.plot(x, values.mean(0), **style)
  axis.fill_between(
    x, values.min(0), values.max(0), color=style['color'], alpha=0.15, lw=0
  )


def _set_points(axis, num_points, metric):
  axis.set(xlabel='points', ylabel=_AXES[metric], xscale='log', yscale='log')
  axis.set_xticks(num_points, [str(n) for n in num_points], minor=False)
  axis.minorticks_off()


def _legend(figure, axes, ncols=4):
  handles = {}
  for axis in axes.flat:
    axis.grid(alpha=0.3)
    handles.update({k: h for h, k in zip(*axis.get_legend_handles_labels())})
  figure.legend(handles.values(), handles, loc='outside lower center', ncols=ncols)
