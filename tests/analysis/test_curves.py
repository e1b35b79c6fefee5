"""Tables, intervals and figures of runs written by hand, and the plotting launcher."""

import os
import pathlib
import shutil
import subprocess
import sys

import matplotlib.colors
import matplotlib.pyplot as plt
import numpy as np
import pytest
from rliable import metrics
from scipy import stats

from acme_dsdpg import config as config_lib
from acme_dsdpg.agent import presets
from acme_dsdpg.analysis import curves, evaluations, figures, published

ROOT = pathlib.Path(__file__).resolve().parents[2]
REFERENCES = ROOT / 'results/references/reference_returns.csv'


def _write_run(directory, returns, **overrides):
  (directory / 'logs').mkdir(parents=True)
  config = presets.make_config({'env': 'walker', 'task': 'walk', **overrides})
  (directory / 'config.json').write_text(config.to_json(), encoding='utf-8')
  rows = ''.join(f'{1000 * i},{value},{2 * i},{i}\n' for i, value in enumerate(returns))
  header = 'actor_steps,episode_return,train_seconds,train_cpu_seconds\n'
  (directory / 'logs/evaluator.csv').write_text(header + rows, encoding='utf-8')


def _read(*paths):
  return evaluations.read_runs(list(map(str, paths)))


def _run(returns, spacing=1000):
  returns = np.array(returns, float)
  steps = spacing * np.arange(len(returns), dtype=float)
  return evaluations.Run(steps, returns, steps / 500, steps / 1000)


@pytest.fixture(autouse=True)
def _closed_figures():
  yield
  plt.close('all')


# Tables.


def test_table_has_mean_and_standard_deviation_over_seeds_at_equal_steps(tmp_path):
  _write_run(tmp_path / 'a', range(0, 90, 10), agent='ddpg', seed=0)  # To step 8,000.
  # This seed is still running: both are compared where it stands, at step 4,000.
  _write_run(tmp_path / 'b', range(20, 70, 10), agent='ddpg', seed=1)
  with open(tmp_path / 'b/logs/evaluator.csv', 'a', encoding='utf-8') as file:
    file.write('5000,')  # Its next row is being written.
  _write_run(tmp_path / 'c', [5.0] * 9, agent='dsdpg', task='run')
  # A variant of a preset, named by its directory.
  _write_run(tmp_path / 'quiet-seed3', [7.0] * 9, agent='dsdpg', task='run', sigma=0.0)
  # A task with noise is another one.
  _write_run(tmp_path / 'noisy', [3.0] * 9, agent='dsdpg', task='run', action_noise=0.1)
  _write_run(tmp_path / 'twice', [4.0] * 9, agent='dsdpg', task='run', action_repeat=2)
  # A run below two of the paths is one.
  lines = curves.table(_read(tmp_path, tmp_path / 'a'), num_last=5).splitlines()
  assert '| walker-run | `dsdpg` | 1 | 8,000 | 5 | 5 | 5 | 5 | 5 |' in lines
  assert '| walker-run | `quiet` | 1 | 8,000 | 7 | 7 | 7 | 7 | 7 |' in lines
  noisy = 'walker-run, action noise 0.1'
  assert f'| {noisy} | `dsdpg` | 1 | 8,000 | 3 | 3 | 3 | 3 | 3 |' in lines
  twice = 'walker-run, actions taken 2 times'
  assert f'| {twice} | `dsdpg` | 1 | 8,000 | 4 | 4 | 4 | 4 | 4 |' in lines
  cells = '20 +- 14 | 30 +- 14 | 40 +- 14 | 50 +- 14 | 30 +- 14'  # Of a sample.
  assert f'| walker-walk | `ddpg` | 2 | 4,000 | {cells} |' in lines


def test_when_returns_are_reached_is_that_of_the_median_seed():
  fast = [
    _run([*range(0, last, 10), *[last] * 9][:9])
    for last in (30, 50, 80)  # To step 8,000.
  ]
  # One is still running: both count to its step 2,000.
  slow = [_run([0, 10, 20, 30]), _run([0, 10, 10])]
  runs = {'walker-walk': {'ddpg': fast, 'slow': slow, 'dsdpg': [_run([0, 70, 0])]}}
  lines = curves.reached(runs, [10.0, 30.0, 50.0, 80.0, 90.0]).splitlines()
  for row in (
    '`ddpg` | 30 | 3 of 3 | 8,000 | 3,000 | 6 |',
    '`ddpg` | 50 | 2 of 3 | 8,000 | 5,000 | 10 |',
    '`ddpg` | 80 | 1 of 3 | 8,000 | - | - |',
    '`ddpg` | 90 | 0 of 3 | 8,000 | - | - |',
    '`dsdpg` | 50 | 1 of 1 | 2,000 | 1,000 | 2 |',
    '`slow` | 10 | 2 of 2 | 2,000 | 1,000 | 2 |',
    '`slow` | 30 | 0 of 2 | 2,000 | - | - |',
  ):
    assert f'| walker-walk | {row}' in lines


def test_a_run_that_was_interrupted_ends_with_the_others(tmp_path):
  # Its episodes end 400 steps later than theirs, the last one past the run's steps.
  _write_run(tmp_path / 'a', range(0, 90, 10), agent='ddpg', num_steps=8000)
  _write_run(tmp_path / 'b', range(0, 90, 10), agent='ddpg', seed=1, num_steps=8000)
  path = tmp_path / 'b/logs/evaluator.csv'
  text = path.read_text('utf-8')
  for i in range(1, 9):
    text = text.replace(f'\n{1000 * i},', f'\n{1000 * i + 400},')
  path.write_text(text, encoding='utf-8')
  table = curves.table(_read(tmp_path), num_last=1)
  assert '| 2 | 8,000 |' in table
  assert '| 80 +- 0 | 80 +- 0 |' in table


def _read_with_lines(*given):
  lines = []
  return evaluations.read_runs(list(map(str, given)), lines.append), lines


def test_a_run_that_cannot_be_shown_is_left_out_with_a_line(tmp_path):
  _write_run(tmp_path / 'a', [5.0] * 9, agent='dsdpg')
  for name in ('begun', 'damaged', 'no-log', 'other'):
    _write_run(tmp_path / name, [5.0], agent='ddpg')
  (tmp_path / 'begun/logs/evaluator.csv').write_text('', encoding='utf-8')
  (tmp_path / 'damaged/config.json').write_text('{', encoding='utf-8')
  (tmp_path / 'no-log/logs/evaluator.csv').unlink()
  (tmp_path / 'other/logs/evaluator.csv').write_text('x\n1\n', encoding='utf-8')
  runs, lines = _read_with_lines(tmp_path)
  assert list(runs['walker-walk']) == ['dsdpg']
  for line, (name, why) in zip(
    lines,
    (
      ('begun', 'not been evaluated'),
      ('damaged', 'is damaged'),
      ('no-log', 'not been evaluated'),
      ('other', 'actor_steps'),
    ),
    strict=True,
  ):
    assert line.startswith(f"'{tmp_path}/{name}' is left out: ")
    assert why in line
  with pytest.raises(config_lib.ConfigError, match='None of these runs'):
    _read(tmp_path / 'begun')


def test_runs_are_one_agents_where_their_configs_say_the_same(tmp_path):
  _write_run(tmp_path / 'first', [1.0], agent='ddpg', seed=0)
  # What changes no result, and what a point critic does not use.
  free = dict(num_threads=3, log_every=7, noise_dim=3, checkpoint_every=9.0)
  _write_run(tmp_path / 'second', [2.0], agent='ddpg', seed=1, **free)
  _write_run(tmp_path / 'quiet', [3.0], agent='ddpg', seed=0, sigma=0.1)
  _write_run(tmp_path / 'wide', [4.0], agent='ddpg', seed=0, hidden_sizes=(9, 9))
  # Alone on its task, it needs no more than its name; elsewhere the same settings do.
  _write_run(tmp_path / 'run', [5.0], agent='ddpg', task='run', sigma=0.1)
  runs, lines = _read_with_lines(tmp_path)
  assert {name: len(seeds) for name, seeds in runs['walker-walk'].items()} == {
    'ddpg, hidden_sizes=(256, 256), sigma=0.3': 2,
    'ddpg, hidden_sizes=(256, 256), sigma=0.1': 1,
    'ddpg, hidden_sizes=(9, 9), sigma=0.3': 1,
  }
  assert list(runs['walker-run']) == ['ddpg']
  assert not lines
  # A sweep's directories name agents, and their settings stay apart all the same.
  _write_run(tmp_path / 'sweep/ours-seed0', [5.0], agent='ddpg', task='stand')
  _write_run(tmp_path / 'sweep/ours-seed1', [5.0], agent='ddpg', task='stand', seed=1)
  _write_run(tmp_path / 'sweep/b/ours-seed0', [5.0], agent='ddpg', task='stand', sigma=0)
  names = {k: len(v) for k, v in _read(tmp_path)['walker-stand'].items()}
  assert names == {'ours, sigma=0.3': 2, 'ours, sigma=0.0': 1}


def test_a_seed_counts_once_and_what_differs_beside_the_settings_is_said(tmp_path):
  _write_run(tmp_path / 'a', [1.0] * 3, agent='ddpg', eval_every=1000)
  _write_run(tmp_path / 'b', [2.0] * 5, agent='ddpg', eval_every=1000)
  _write_run(tmp_path / 'c', [3.0] * 5, agent='ddpg', seed=1, eval_every=1000)
  shutil.copytree(tmp_path / 'c', tmp_path / 'copy')
  runs, lines = _read_with_lines(tmp_path)
  returns = [run.returns[0] for run in runs['walker-walk']['ddpg']]
  assert returns == [2.0, 3.0]  # The longer of two; one of two alike.
  left_out = "'{0}/{1}' is left out: it has the settings and the seed of '{0}/{2}'"
  assert lines == [
    left_out.format(tmp_path, 'a', 'b'),
    left_out.format(tmp_path, 'copy', 'c'),
  ]
  other = dict(eval_every=1000, eval_episodes=50, num_actors=2)
  _write_run(tmp_path / 'd', [4.0] * 2, agent='ddpg', seed=2, **other)
  assert _read_with_lines(tmp_path)[1][2:] == [
    'ddpg on walker-walk: eval_episodes is 5 or 50',
    'ddpg on walker-walk: num_actors is 2 or 4',
    'ddpg on walker-walk: runs have come to step 1,000 to 4,000, and are compared as '
    'far as all have',
  ]


def test_links_are_followed_and_one_upwards_has_an_end(tmp_path):
  _write_run(tmp_path / 'disk/x', [1.0], agent='ddpg')
  (tmp_path / 'runs').mkdir()
  (tmp_path / 'runs/linked-seed0').symlink_to(tmp_path / 'disk/x')
  (tmp_path / 'runs/again').symlink_to(tmp_path / 'disk')
  (tmp_path / 'runs/up').symlink_to(tmp_path)
  (tmp_path / 'runs/dangling').symlink_to(tmp_path / 'nowhere')
  runs, lines = _read_with_lines(tmp_path / 'runs')
  assert [len(seeds) for seeds in runs['walker-walk'].values()] == [1]
  assert not lines
  # A path is no pattern.
  _write_run(tmp_path / 'lr=[1e-3]*', [1.0], agent='ddpg')
  assert len(_read(tmp_path / 'lr=[1e-3]*')['walker-walk']['ddpg']) == 1


# Intervals.


@pytest.mark.parametrize(
  ('values', 'expected'),
  [
    ([7.0], 7.0),
    ([0.0, 1.0, 8.0], 3.0),  # Fewer than four: the mean.
    ([100.0, 2.0, 4.0, -100.0], 3.0),
    ([9.0, 1.0, 2.0, 3.0, -50.0], 2.0),
    ([*range(8), 1000.0], 4.0),
  ],
)
def test_the_interquartile_mean_leaves_out_a_quarter_at_each_end(values, expected):
  values = np.array(values)
  assert curves.interquartile_mean(values) == expected == stats.trim_mean(values, 0.25)
  columns = np.stack([values, 2.0 * values], axis=1)
  np.testing.assert_array_equal(
    curves.interquartile_mean(columns), [expected, 2.0 * expected]
  )


def test_the_bootstrap_interval_holds_the_truth_95_times_of_100():
  values = np.random.default_rng(1).normal(3.0, 2.0, size=[40, 400])
  state = np.random.get_state()
  low, high = curves.bootstrap_interval(values)
  assert 0.91 < np.mean((low < 3.0) & (high > 3.0)) < 0.97
  # The interquartile mean of normal values has 1.09 times the mean's standard error.
  expected = 2 * 1.96 * 1.09 * 2.0 / np.sqrt(40)
  np.testing.assert_allclose(np.mean(high - low), expected, rtol=0.1)
  # The same each time, without the global generator.
  np.testing.assert_array_equal(curves.bootstrap_interval(values), [low, high])
  assert np.array_equal(state[1], np.random.get_state()[1])
  # Of two seeds, each is drawn twice a quarter of the time.
  assert curves.bootstrap_interval(np.array([[1.0], [5.0]])) == (1.0, 5.0)


def test_agents_are_aggregated_over_tasks_and_seeds():
  runs = {
    f'walker-{task}': {
      agent: [_run([0.0] * 4 + [base + 100.0 * seed] * 5) for seed in range(3)]
      for agent, base in (('ddpg', 300), ('dsdpg', 500))
    }
    for task in ('walk', 'run')
  }
  # One has come further: that counts for none.
  longer = runs['walker-walk']['ddpg']
  longer[0] = _run([*longer[0].returns, 0.0])
  # One seed too many on one task, and an agent that ran there only.
  runs['walker-run']['dsdpg'].append(_run([0.0] * 9))
  runs['walker-run']['d4pg'] = [_run([999.0] * 9)] * 3
  scores = curves.aggregate(runs, num_last=5)
  np.testing.assert_allclose(scores['ddpg'], [[0.3] * 2, [0.4] * 2, [0.5] * 2])
  np.testing.assert_allclose(scores['dsdpg'], [[0.5] * 2, [0.6] * 2, [0.7] * 2])
  assert set(scores) == {'ddpg', 'dsdpg'}
  state = np.random.get_state()
  means, improvements = curves.compare(scores, repeats=100)
  assert np.array_equal(state[1], np.random.get_state()[1])
  # Of 300, 400, 500 on two tasks the middle half: (400 + 400) / 2.
  assert means['ddpg'][0] == pytest.approx(0.4)
  assert means['dsdpg'][0] == pytest.approx(0.6)
  for point, low, high in means.values():
    assert 0.1 > point - low > 0.01 < high - point < 0.1
  # Of nine pairs of runs a task: 8 won, one drawn.
  assert improvements['dsdpg', 'ddpg'][0] == pytest.approx(8.5 / 9)
  assert improvements['ddpg', 'dsdpg'][0] == pytest.approx(0.5 / 9)
  for (a, b), (point, *_) in improvements.items():
    assert point == pytest.approx(
      metrics.probability_of_improvement(scores[a], scores[b])
    )
  lines = curves.comparison(means, improvements).splitlines()
  assert lines[2].startswith('| `ddpg` | 0.400 | 0.3')
  assert any(line.startswith('| `dsdpg` | `ddpg` | 0.94 | 0.') for line in lines)
  # Of nine evaluations, four are 0: (4 * 0 + 5 * 400) / 9.
  everything = curves.aggregate(runs, num_last=9)
  np.testing.assert_allclose(everything['ddpg'][1], [0.4 * 5 / 9] * 2)
  assert 'mean of the last 9 |' in curves.table(runs, num_last=9)


# Figures.


def _lines(axis):
  return {line.get_label(): line for line in axis.get_lines()}


def test_a_learning_curve_is_the_interquartile_mean_with_its_interval():
  values = np.array([[0.0, 10, 20], [0, 20, 30], [0, 30, 100], [0, 40, 70], [0, 0, -5]])
  runs = {
    'walker-walk': {
      'ddpg': [_run(row) for row in values],
      'dsdpg': [_run([0, 5, 6]), _run([0, 7])],  # The second is still running.
      'd4pg': [_run([0, 1, 2])],
    }
  }
  (axis,) = figures.learning_curves(runs, {}).axes
  lines = _lines(axis)
  ddpg, dsdpg = lines['ddpg (5 seeds)'], lines['dsdpg (2 seeds)']
  np.testing.assert_allclose(ddpg.get_ydata(), [0.0, 20.0, 40.0])
  np.testing.assert_allclose(dsdpg.get_xydata(), [[0, 0], [1000, 6]])
  np.testing.assert_allclose(lines['d4pg (1 seed)'].get_ydata(), [0, 1, 2])
  # A single seed has no band.
  bands = {tuple(b.get_facecolor()[0, :3]): b for b in axis.collections}
  colour = lambda line: matplotlib.colors.to_rgb(line.get_color())
  assert set(bands) == {colour(ddpg), colour(dsdpg)}
  band = bands[colour(ddpg)].get_paths()[0].vertices
  expected = np.array(curves.bootstrap_interval(values))[:, -1]
  end = band[band[:, 0] == 2000, 1]
  np.testing.assert_allclose([end.min(), end.max()], expected)


def test_returns_below_zero_are_not_cut_off_and_the_axis_else_begins_there():
  runs = {
    'a-positive': {'ddpg': [_run([50, 60, 70])]},
    'b-negative': {'ddpg': [_run([-30, 10, 20])]},
    # Its interval alone is below.
    'c-band': {'ddpg': [_run([20, -1]), _run([20, 30])]},
  }
  positive, negative, band = figures.learning_curves(runs, {}).axes
  assert positive.get_ylim()[0] == 0.0
  assert positive.get_ylim()[1] > 70
  assert negative.get_ylim()[0] < -30
  assert band.get_ylim()[0] < -1


def test_a_single_evaluation_is_seen():
  runs = {'a': {'ddpg': [_run([5])], 'd4pg': [_run([5, 6])]}}
  (axis,) = figures.learning_curves(runs, {}).axes
  point, line = _lines(axis)['ddpg (1 seed)'], _lines(axis)['d4pg (1 seed)']
  assert point.get_marker() == '.'
  assert line.get_marker() == 'None'


def test_returns_are_drawn_against_cpu_seconds_as_far_as_all_seeds_have_come(tmp_path):
  # Returns grow by 10 a CPU second of one seed, by 20 of the other, which ends at 4.
  fast, slow = _run(range(0, 90, 10)), _run(range(0, 90, 10))
  fast = fast._replace(cpu_seconds=fast.cpu_seconds / 2)
  figure = figures.learning_curves(
    {'walker-walk': {'ddpg': [slow, fast]}}, {}, 'cpu_seconds'
  )
  (line,) = figure.axes[0].lines
  assert figure.axes[0].get_xlabel() == 'CPU seconds of acting and learning'
  np.testing.assert_allclose(line.get_xdata(), np.linspace(0, 4, 9))
  np.testing.assert_allclose(line.get_ydata(), 15 * np.linspace(0, 4, 9))
  # An earlier version's log has none.
  _write_run(tmp_path / 'new', [1.0, 2.0], agent='ddpg')
  curves.check_cpu_seconds(_read(tmp_path / 'new'))
  _write_run(tmp_path / 'old', [1.0, 2.0], agent='ddpg', seed=1)
  log = tmp_path / 'old/logs/evaluator.csv'
  lines = log.read_text(encoding='utf-8').splitlines()
  text = ''.join(line.rsplit(',', 1)[0] + '\n' for line in lines)
  log.write_text(text, encoding='utf-8')
  with pytest.raises(
    config_lib.ConfigError, match='ddpg on walker-walk has a log without'
  ):
    curves.check_cpu_seconds(_read(tmp_path))


def test_a_published_curve_of_repeated_actions_says_so():
  references = published.read(REFERENCES, ['ddpg', 'mrq'])
  axes = figures.learning_curves(
    {'walker-walk': {'ddpg': [_run([0, 1], 100_000)]}}, references
  ).axes
  assert [c.get_label() for c in axes[0].containers] == [
    'ddpg, published: mean of 10 seeds',
    'mrq, published: mean of 10 seeds, each action 2 times',
  ]


def test_a_published_curve_is_drawn_as_far_as_the_runs_have_come():
  references = published.read(REFERENCES, ['d4pg', 'ddpg'])
  runs = {
    'walker-walk': {'ddpg': [_run([0, 1], spacing=100_000)]},
    'walker-walk, action noise 0.1': {'ddpg': [_run([0, 1], spacing=100_000)]},
  }
  axes = figures.learning_curves(runs, references).axes
  labels = [
    [c.get_label() for c in axis.containers] for axis in axes
  ]  # Error bars are containers.
  assert [label.split(',')[0] for label in labels[0]] == ['d4pg', 'ddpg']
  assert labels[1] == []
  for container in axes[0].containers:
    line = container.lines[0]
    assert line.get_xdata().max() == 100_000
    assert line.get_linestyle() == '--'
  # Nothing in the legend of a curve that begins later.
  later = {'ddpg': [_run([0, 1], spacing=50_000)]}
  references = published.read(REFERENCES, ['xqc'])
  (axis,) = figures.learning_curves({'walker-walk': later}, references).axes
  assert not axis.containers
  with pytest.raises(config_lib.ConfigError, match="'dpdg' is none of d4pg, ddpg"):
    published.read(REFERENCES, ['ddpg', 'dpdg'])


@pytest.mark.parametrize('num_agents', [1, 3, 20])
@pytest.mark.parametrize('num_tasks', [1, 3])
def test_the_legend_is_below_the_panels_and_within_the_figure(num_agents, num_tasks):
  by_agent = {f'variant_with_a_long_name_{i}': [_run([0, i])] for i in range(num_agents)}
  runs = {f'walker-{i}': by_agent for i in range(num_tasks)}
  figure = figures.learning_curves(runs, {})
  figure.canvas.draw()
  (legend,) = figure.legends
  box = legend.get_window_extent()
  assert len(legend.get_texts()) == num_agents
  assert 0 <= box.x0 < box.x1 <= figure.bbox.width
  assert 0 <= box.y0
  for axis in figure.axes:
    panel = axis.get_tightbbox()
    assert box.y1 <= panel.y0
    assert panel.height > 3.0 * figure.dpi  # However many agents there are.


def test_an_agent_has_one_colour_in_every_figure():
  one = figures.learning_curves({'a': {'ddpg': [_run([0, 1])]}}, {})
  two = figures.learning_curves(
    {'a': {'ddpg': [_run([0, 1])], 'ablation': [_run([0, 2])]}}, {}
  )
  colours = [
    {label.split()[0]: line.get_color() for label, line in _lines(f.axes[0]).items()}
    for f in (one, two)
  ]
  assert colours[0]['ddpg'] == colours[1]['ddpg'] != colours[1]['ablation']


def test_the_default_agent_has_the_first_colour():
  runs = {'a': {name: [_run([0, 1])] for name in ('ddpg', presets.DEFAULT_AGENT)}}
  lines = _lines(figures.learning_curves(runs, {}).axes[0])
  colours = {label.split()[0]: line.get_color() for label, line in lines.items()}
  assert colours[presets.DEFAULT_AGENT] == matplotlib.colormaps['tab20'].colors[0]


def test_a_comparison_shows_each_agent_and_each_pair(tmp_path):
  means = {'a': (0.5, 0.4, 0.6), 'b': (0.3, 0.1, 0.35)}
  improvements = {('a', 'b'): (0.8, 0.7, 0.95), ('b', 'a'): (0.2, 0.05, 0.3)}
  figure = figures.comparison(means, improvements)
  for axis, intervals in zip(figure.axes, (means, improvements)):
    drawn = [line.get_xdata() for line in axis.get_lines()][:4]
    expected = [x for point, *ends in intervals.values() for x in (ends, [point])]
    for x, y in zip(drawn, expected):
      np.testing.assert_array_equal(x, y)
  labels = [text.get_text() for text in figure.axes[1].get_yticklabels()]
  assert labels == ['a > b', 'b > a']
  paths = figures.save(figure, str(tmp_path / 'x'))
  assert paths == [f'{tmp_path}/x.png', f'{tmp_path}/x.pdf']
  assert all(os.path.getsize(path) > 5000 for path in paths)


# The launcher.


def _plot(*arguments):
  environment = {k: v for k, v in os.environ.items() if k != 'TF_CPP_MIN_LOG_LEVEL'}
  return subprocess.run(
    [sys.executable, str(ROOT / 'launchers/plot.py'), *map(str, arguments)],
    capture_output=True, text=True, check=False,
    env={**environment, 'PYTHONPATH': str(ROOT)},
  )  # fmt: skip


@pytest.mark.process
def test_the_launcher_prints_tables_and_writes_figures_or_says_what_is_wrong(tmp_path):
  for agent in ('ddpg', 'dsdpg'):
    for seed in range(2):
      directory = tmp_path / f'{agent}-seed{seed}'
      _write_run(directory, [0.0, 500.0 + seed], agent=agent, seed=seed)
  shutil.copytree(tmp_path / 'ddpg-seed0', tmp_path / 'copy/ddpg-seed0')
  result = _plot(tmp_path, f'--output={tmp_path}/curves.png', '--reach=400', '--last=1')
  assert result.returncode == 0, result.stderr
  assert result.stderr.startswith(f"WARNING: '{tmp_path}/ddpg-seed0' is left out: ")
  assert result.stderr.count('\n') == 1
  lines = result.stdout.splitlines()
  assert '| walker-walk | `ddpg` | 400 | 2 of 2 | 1,000 | 1,000 | 2 |' in lines
  assert any('mean of the last 1 |' in line for line in lines)
  assert any(line.startswith('| `dsdpg` | `ddpg` | 0.50 |') for line in lines)
  for name in ('curves', 'curves_aggregate'):
    for suffix in ('png', 'pdf'):
      path = tmp_path / f'{name}.{suffix}'
      assert str(path) in lines
      assert path.stat().st_size > 5000
  nothing = tmp_path / 'nothing'
  nothing.mkdir()
  result = _plot(nothing)
  assert result.returncode == 2
  assert result.stderr == f'{str(nothing)!r} has no run in it or below it.\n'
  assert not result.stdout
  result = _plot(tmp_path, '--output=/proc/curves')
  assert result.returncode == 2
  assert "'/proc/curves.png' cannot be written" in result.stderr
  assert not result.stdout
