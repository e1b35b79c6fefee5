"""The plotting launcher, on runs written by hand."""

import os
import pathlib
import subprocess
import sys

from acme_dsdpg import config as config_lib

ROOT = pathlib.Path(__file__).resolve().parents[2]


def _plot(*arguments):
  return subprocess.run(
    [sys.executable, str(ROOT / 'launchers/plot.py'), *map(str, arguments)],
    capture_output=True,
    text=True,
    env={**os.environ, 'PYTHONPATH': str(ROOT)},
    check=False,
  )


def _write_run(directory, returns, **overrides):
  os.makedirs(directory / 'logs')
  config = config_lib.make_config({'env': 'walker', 'task': 'walk', **overrides})
  (directory / 'config.json').write_text(config.to_json(), encoding='utf-8')
  rows = ''.join(f'{1000 * i},{value},{2 * i}\n' for i, value in enumerate(returns))
  (directory / 'logs/evaluator.csv').write_text(
    'actor_steps,episode_return,train_seconds\n' + rows, encoding='utf-8'
  )


def test_table_has_mean_and_deviation_over_seeds_at_equal_steps(tmp_path):
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
  # A run below two of the paths is one.
  result = _plot(tmp_path, tmp_path / 'a', f'--output={tmp_path}/curves')
  assert result.returncode == 0, result.stderr
  lines = result.stdout.splitlines()
  assert '| walker-run | `dsdpg` | 1 | 8,000 | 5 | 5 | 5 | 5 | 5 |' in lines
  assert '| walker-run | `quiet` | 1 | 8,000 | 7 | 7 | 7 | 7 | 7 |' in lines
  noisy = 'walker-run, action noise 0.1'
  assert f'| {noisy} | `dsdpg` | 1 | 8,000 | 3 | 3 | 3 | 3 | 3 |' in lines
  cells = '20 +- 14 | 30 +- 14 | 40 +- 14 | 50 +- 14 | 30 +- 14'  # Of a sample.
  assert f'| walker-walk | `ddpg` | 2 | 4,000 | {cells} |' in lines
  for suffix in ('png', 'pdf'):
    assert (tmp_path / f'curves.{suffix}').stat().st_size > 1000
  assert not result.stderr


def test_when_returns_are_reached_is_that_of_the_median_seed(tmp_path):
  for seed, last in enumerate((30, 50, 80)):
    returns = [*range(0, last, 10), *[last] * 9][:9]
    _write_run(tmp_path / f'ddpg-seed{seed}', returns, agent='ddpg', seed=seed)
  # This one is still running: both count to its step 2,000.
  for seed, returns in enumerate(([0, 10, 20, 30], [0, 10, 10])):
    _write_run(tmp_path / f'slow-seed{seed}', returns, agent='ddpg', seed=seed)
  _write_run(tmp_path / 'dsdpg-seed0', [0.0, 70.0, 0.0], agent='dsdpg')
  result = _plot(tmp_path, f'--output={tmp_path}/curves', '--reach=10,30,50,80,90')
  assert result.returncode == 0, result.stderr
  for row in (
    '`ddpg` | 30 | 3 of 3 | 8,000 | 3,000 | 6 |',
    '`ddpg` | 50 | 2 of 3 | 8,000 | 5,000 | 10 |',
    '`ddpg` | 80 | 1 of 3 | 8,000 | - | - |',
    '`ddpg` | 90 | 0 of 3 | 8,000 | - | - |',
    '`dsdpg` | 50 | 1 of 1 | 2,000 | 1,000 | 2 |',
    '`slow` | 10 | 2 of 2 | 2,000 | 1,000 | 2 |',
    '`slow` | 30 | 0 of 2 | 2,000 | - | - |',
  ):
    assert f'| walker-walk | {row}' in result.stdout.splitlines()
  wrong = _plot(tmp_path, '--reach=soon')
  assert wrong.returncode == 2
  assert "reach='soon' is not valid" in wrong.stderr
  wrong = _plot(tmp_path, '--references=ddpg,dpdg')
  assert wrong.returncode == 2
  assert "'dpdg' is none of d4pg, ddpg" in wrong.stderr
  wrong = _plot(tmp_path, f'--output={tmp_path}/nowhere/curves')
  assert wrong.returncode == 2
  assert 'is no directory' in wrong.stderr
  assert not wrong.stdout


def test_a_run_that_was_interrupted_ends_with_the_others(tmp_path):
  # Its episodes end 400 steps later than theirs, the last one past the run's steps.
  _write_run(tmp_path / 'a', range(0, 90, 10), agent='ddpg', num_steps=8000)
  _write_run(tmp_path / 'b', range(0, 90, 10), agent='ddpg', seed=1, num_steps=8000)
  path = tmp_path / 'b/logs/evaluator.csv'
  text = path.read_text('utf-8')
  for i in range(1, 9):
    text = text.replace(f'\n{1000 * i},', f'\n{1000 * i + 400},')
  path.write_text(text, encoding='utf-8')
  result = _plot(tmp_path, f'--output={tmp_path}/curves', '--last=1')
  assert result.returncode == 0, result.stderr
  assert '| 2 | 8,000 |' in result.stdout
  assert '| 80 +- 0 | 80 +- 0 |' in result.stdout


def test_a_run_that_has_only_begun_is_left_out(tmp_path):
  _write_run(tmp_path / 'a', [5.0] * 9, agent='dsdpg')
  _write_run(tmp_path / 'b', [5.0], agent='ddpg')
  (tmp_path / 'b/logs/evaluator.csv').write_text('', encoding='utf-8')
  result = _plot(tmp_path, f'--output={tmp_path}/curves.png')
  assert result.returncode == 0, result.stderr
  assert f'{tmp_path}/curves.pdf' in result.stdout.splitlines()
  assert '`dsdpg`' in result.stdout
  assert '`ddpg`' not in result.stdout


def test_a_directory_without_runs_is_a_sentence(tmp_path):
  result = _plot(tmp_path)
  assert result.returncode == 2
  assert 'has no run' in result.stderr
  assert 'Traceback' not in result.stderr


def test_agents_are_aggregated_over_tasks_and_seeds(tmp_path):
  for task in ('walk', 'run'):
    for seed in range(3):
      for agent, base in (('ddpg', 300), ('dsdpg', 500)):
        directory = tmp_path / f'walker-{task}' / f'{agent}-seed{seed}'
        _write_run(
          directory,
          [0.0] * 4 + [base + 100.0 * seed] * 5,
          agent=agent,
          task=task,
          seed=seed,
        )
  # One has come further: that counts for none.
  longer = tmp_path / 'walker-walk/ddpg-seed0/logs/evaluator.csv'
  longer.write_text(longer.read_text('utf-8') + '9000,0,18\n', 'utf-8')
  # On one task only, so not among them.
  _write_run(tmp_path / 'x/d4pg-seed0', [999.0] * 9, agent='d4pg', task='run')
  result = _plot(tmp_path, f'--output={tmp_path}/curves')
  assert result.returncode == 0, result.stderr
  # Of 300, 400, 500 on two tasks the middle half: (400 + 400) / 2; every value is known.
  assert '| `ddpg` | 0.400 | 0.3' in result.stdout
  assert '| `dsdpg` | 0.600 | 0.5' in result.stdout
  # Of nine pairs of runs a task: 8 won, one drawn.
  assert '| `dsdpg` | `ddpg` | 0.94 |' in result.stdout
  assert '| `ddpg` | `dsdpg` | 0.06 |' in result.stdout
  assert 'interquartile' in result.stdout
  assert '`d4pg` | 0.' not in result.stdout
  assert (tmp_path / 'curves_aggregate.png').stat().st_size > 5000
  assert not result.stderr
  # Of nine evaluations, four are 0: (4 * 0 + 5 * 400) / 9.
  everything = _plot(tmp_path, f'--output={tmp_path}/all', '--last=9').stdout
  assert 'mean of the last 9 |' in everything
  assert '| `ddpg` | 0.222 | ' in everything
