"""What the figures show, of metrics written by hand."""

import csv
import os

import matplotlib.colors
import numpy as np
import pytest

from acme_dsdpg.toy import arms, experiment, figures

SETTINGS = arms.Settings(num_steps=500, num_seeds=3, eval_every=250)
NUM_POINTS = (4, 8)
METRICS = ('joint_mmd', 'gradient_error', 'second_derivative')


def _value(arm, metric, seed, step):
  """Another one for each."""
  return (
    1.0
    + METRICS.index(metric)
    + 0.1 * seed
    + (arm.num_points or 0)
    + 0.3 * arm.sobolev
    + 0.5 * (arm.method == 'cgmmn')
    + 5.0 * arm.input_noise
    + step / 1000
  )


@pytest.fixture(scope='module', name='directory')
def written_metrics(tmp_path_factory):
  directory = str(tmp_path_factory.mktemp('toy'))
  for arm in {
    *arms.FIGURES[3](()),
    *arms.FIGURES[4](NUM_POINTS),
    *arms.FIGURES[9]((4, 8)),
  }:
    os.makedirs(experiment.arm_directory(directory, arm))
    path = os.path.join(experiment.arm_directory(directory, arm), 'metrics.csv')
    with open(path, 'w', encoding='utf-8') as file:
      writer = csv.writer(file)
      writer.writerow(['step', 'seed', 'seconds', *METRICS])
      for step in (0, 250, 500):
        for seed in range(3):
          values = [_value(arm, metric, seed, step) for metric in METRICS]
          writer.writerow([step, seed, 1.0, *values])
  return directory


def test_the_summary_is_over_seeds_at_the_end(directory, tmp_path):
  done, missing = arms.FIGURES[3](())[0], arms.Arm('regression', num_points=99)
  path = tmp_path / 'summary.csv'
  experiment.write_summary(str(path), directory, [done, missing], SETTINGS)
  with open(path, encoding='utf-8') as file:
    rows = {r['metric']: r for r in csv.DictReader(file)}
  assert {r['arm'] for r in rows.values()} == {done.name}
  for metric in METRICS:
    # At the end is the mean of the last evaluations, the untrained ones' left out.
    seeds = [
      np.mean([_value(done, metric, seed, step) for step in (250, 500)])
      for seed in range(3)
    ]
    row = rows[metric]
    np.testing.assert_allclose(float(row['mean']), np.mean(seeds), rtol=1e-3)
    np.testing.assert_allclose(float(row['std']), 0.1, rtol=1e-3)
    np.testing.assert_allclose(float(row['min']), seeds[0], rtol=1e-3)
    np.testing.assert_allclose(float(row['max']), seeds[2], rtol=1e-3)


def _lines(axis):
  """Label to line."""
  return {line.get_label(): line for line in axis.get_lines()}


def _bands(axis):
  """(colour, lowest, highest) of the bands between seeds."""
  result = []
  for band in axis.collections:
    y = band.get_paths()[0].vertices[:, 1]
    result.append((tuple(band.get_facecolor()[0, :3]), y.min(), y.max()))
  return result


LABELS = {
  'cGMMN': arms.Arm('cgmmn'),
  'Sobolev cGMMN': arms.Arm('cgmmn', True),
  'regression': arms.Arm('regression'),
  'Sobolev regression': arms.Arm('regression', True),
}


def test_fig_3_shows_mean_and_range_of_the_seeds_against_steps(directory):
  figure = figures.DRAW[3](directory, SETTINGS, NUM_POINTS)
  for axis, metric in zip(figure.axes, ('joint_mmd', 'gradient_error')):
    lines = _lines(axis)
    assert set(lines) == set(LABELS)
    for label, arm in LABELS.items():
      np.testing.assert_array_equal(lines[label].get_xdata(), [0, 250, 500])
      expected = [_value(arm, metric, 1, step) for step in (0, 250, 500)]
      np.testing.assert_allclose(lines[label].get_ydata(), expected)
      colour = matplotlib.colors.to_rgb(lines[label].get_color())
      ends = _value(arm, metric, 0, 0), _value(arm, metric, 2, 500)
      assert any(
        np.allclose(band[0], colour) and np.allclose(band[1:], ends)
        for band in _bands(axis)
      )
    assert axis.get_xlabel() == 'step'
    assert axis.get_yscale() == 'log'


def test_fig_4_shows_the_end_against_points_and_training_in_the_middle(directory):
  axes = figures.DRAW[4](directory, SETTINGS, NUM_POINTS).axes
  for column, metric in enumerate(('gradient_error', 'second_derivative')):
    at_the_end, along = _lines(axes[column]), _lines(axes[2 + column])
    for label, arm in LABELS.items():
      with_points = [arms.Arm(arm.method, arm.sobolev, n) for n in NUM_POINTS]
      # The mean of the evaluations but the untrained models'.
      expected = [_value(a, metric, 1, 375) for a in with_points]
      np.testing.assert_array_equal(at_the_end[label].get_xdata(), NUM_POINTS)
      np.testing.assert_allclose(at_the_end[label].get_ydata(), expected)
      expected = [_value(with_points[0], metric, 1, step) for step in (0, 250, 500)]
      np.testing.assert_allclose(along[label].get_ydata(), expected)
    assert axes[2 + column].get_xlabel() == 'step, 4 points'


@pytest.mark.parametrize(('number', 'metric'), [(9, METRICS[1]), (10, METRICS[2])])
def test_figs_9_and_10_show_the_noises_beside_the_clean_regressions(
  directory, number, metric
):
  figure = figures.DRAW[number](directory, SETTINGS, NUM_POINTS)
  (axis,) = figure.axes
  lines = _lines(axis)
  for sigma in arms.INPUT_NOISE:
    drawn = [arms.Arm('regression', False, n, sigma) for n in NUM_POINTS]
    line = lines.pop(f'regression, input noise {sigma:g}')
    np.testing.assert_allclose(
      line.get_ydata(), [_value(arm, metric, 1, 375) for arm in drawn]
    )
  assert {'regression', 'Sobolev regression'} <= set(lines)
  assert [text.get_text() for text in axis.get_xticklabels()] == ['4', '8']


def test_a_method_has_one_colour_everywhere_and_another_method_another(directory):
  seen = {}
  for number in (3, 4, 9, 10):
    for axis in figures.DRAW[number](directory, SETTINGS, NUM_POINTS).axes:
      for label, line in _lines(axis).items():
        style = line.get_color(), line.get_linestyle()
        assert seen.setdefault(label, style) == style
  assert len(set(seen.values())) == len(seen)


@pytest.mark.parametrize('number', [3, 4, 9, 10])
def test_a_legend_is_within_its_figure(directory, number):
  figure = figures.DRAW[number](directory, SETTINGS, NUM_POINTS)
  figure.canvas.draw()
  (legend,) = figure.legends
  box = legend.get_window_extent()
  assert 0 <= box.x0 < box.x1 <= figure.bbox.width
  assert 0 <= box.y0 < box.y1 <= figure.bbox.height


def test_the_truths_second_derivative():
  x = np.linspace(0.0, 5.0, 100_001)
  np.testing.assert_allclose(
    figures._TRUE_SECOND_DERIVATIVE, np.mean(np.abs(2.0 * np.sin(x))), rtol=1e-4
  )
