"""Training of the figures' arms, resumption, and the launcher."""

import contextlib
import csv
import dataclasses
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import matplotlib.image
import numpy as np
import psutil
import pytest
import tensorflow as tf

from acme_dsdpg import config as config_lib
from acme_dsdpg.toy import arms, experiment, inferred, problem, run

ROOT = pathlib.Path(__file__).resolve().parents[2]
PATIENCE = 300.0  # Seconds, for what takes an idle machine less than a tenth of it.
SMALL = arms.Settings(num_steps=6, num_seeds=1, eval_every=2)
NUM_POINTS = (4,)
NOISY = arms.Arm('regression', num_points=4, input_noise=0.1)
ARMS = [  # Each kind of model; points drawn once and anew.
  (arms.Arm('cgmmn', True), 1),
  pytest.param(arms.Arm('cvae'), 1, marks=pytest.mark.slow),
  pytest.param(NOISY, 2, marks=pytest.mark.slow),  # Two seeds where they cost least.
]


def _train(arm, settings, directory, **kwargs):
  experiment.train(arm, settings, str(directory), jit_compile=False, **kwargs)
  return experiment.read_metrics(str(directory), arm)


@pytest.fixture(scope='module', name='train_once')
def _train_once(tmp_path_factory):
  """(arm, number of seeds) -> the run directory in which it has been trained, once."""
  directories = {}

  def train_once(arm, num_seeds=1):
    if num_seeds not in directories:
      directories[num_seeds] = tmp_path_factory.mktemp('trained')
    directory = directories[num_seeds]
    if not experiment.read_metrics(str(directory), arm):
      _train(arm, dataclasses.replace(SMALL, num_seeds=num_seeds), directory)
    return directory

  return train_once


def _without_seconds(rows):
  return [{k: v for k, v in row.items() if k != 'seconds'} for row in rows]


@pytest.mark.parametrize(('arm', 'num_seeds'), ARMS, ids=lambda x: getattr(x, 'name', x))
def test_an_arm_stopped_goes_on_with_the_same_curve(arm, num_seeds, train_once, tmp_path):
  settings = dataclasses.replace(SMALL, num_seeds=num_seeds)
  whole = experiment.read_metrics(str(train_once(arm, num_seeds)), arm)
  assert [(r['step'], r['seed']) for r in whole] == [
    (step, seed) for step in (0, 2, 4, 6) for seed in range(num_seeds)
  ]

  class StopError(Exception):
    pass

  taken = 0

  def stop(steps):
    nonlocal taken
    taken += steps
    if taken == 4:
      raise StopError

  with pytest.raises(StopError):
    _train(arm, settings, tmp_path, report=stop)
  assert len(experiment.read_metrics(str(tmp_path), arm)) == 3 * num_seeds
  reported = []
  parts = _train(arm, settings, tmp_path, report=reported.append)
  assert reported == [4, 2]
  assert _without_seconds(parts) == _without_seconds(whole)
  # Once more: there is nothing to do.
  reported.clear()
  assert _train(arm, settings, tmp_path, report=reported.append) == parts
  assert reported == [6]


def test_rows_past_the_checkpoint_are_dropped_on_resuming(train_once, tmp_path):
  whole = train_once(NOISY, 2) / 'arms' / NOISY.name / 'metrics.csv'
  # As if it had been killed between the metrics of step 6 and its checkpoint.
  _train(NOISY, arms.Settings(4, 2, 2), tmp_path)
  shutil.copy(whole, tmp_path / 'arms' / NOISY.name)
  again = _train(NOISY, arms.Settings(6, 2, 2), tmp_path)
  expected = experiment.read_metrics(str(train_once(NOISY, 2)), NOISY)
  assert _without_seconds(again) == _without_seconds(expected)


def test_fixed_points_stay_and_their_noise_does_not():
  data = experiment._Data(arms.Arm('regression', num_points=3, input_noise=0.5), 2)
  clean = experiment._Data(arms.Arm('regression', num_points=3), 2)
  first, second = data.draw(tf.constant(0)), data.draw(tf.constant(1))
  fixed = clean.draw(tf.constant(0))
  np.testing.assert_array_equal(fixed.x, clean.draw(tf.constant(1)).x)
  assert fixed.x.shape == [2, 3, 1]
  assert fixed.y.shape == [2, 3, 4]
  assert not np.allclose(fixed.x[0], fixed.x[1])
  np.testing.assert_array_equal(first.y, fixed.y)
  assert not np.allclose(first.x, second.x)
  noise = np.stack([data.draw(tf.constant(i)).x - fixed.x for i in range(400)])
  np.testing.assert_allclose(noise.mean(), 0.0, atol=0.05)
  np.testing.assert_allclose(noise.std(), 0.5, rtol=0.05)


def test_unlimited_data_is_new_every_step():
  data = experiment._Data(arms.Arm('cgmmn'), 1)
  first, second = data.draw(tf.constant(0)), data.draw(tf.constant(1))
  assert first.x.shape == [1, arms.BATCH_SIZE, 1]
  assert not np.any(np.equal(first.x, second.x))
  np.testing.assert_array_equal(first.x, data.draw(tf.constant(0)).x)


def test_gradients_are_inferred_away_from_where_the_modes_cross(monkeypatch):
  monkeypatch.setattr(inferred, 'LEARNING_RATE', 3e-3)  # Learned ten times as soon.
  model = inferred.GradientInference(1, hidden_sizes=(64, 64), jit_compile=False)

  @tf.function
  def train():
    for i in tf.range(1500):
      batch = problem.draw(tf.stack([0, i]), 64)
      model.step(batch.x[tf.newaxis], batch.y[tf.newaxis])

  train()
  away, crossing = tf.constant([[0.8], [2.2]]), tf.constant([[np.pi]], tf.float32)
  values, gradients = inferred.errors(model, away, num_draws=32)
  assert np.all(values < 0.15)  # Of a variance of 1 to 2.
  # Far below those of the conditional mean, 2 cos^2 x, to which they collapse there.
  assert np.all(gradients < np.cos(away) ** 2)
  _, collapsed = inferred.errors(model, crossing, num_draws=32)
  np.testing.assert_allclose(collapsed, 2.0, rtol=0.2)


def test_inferred_gradients_match_finite_differences_at_a_fixed_latent():
  model = inferred.GradientInference(1, hidden_sizes=(8, 8))
  (network,) = model._models
  x, y = tf.constant([[0.3], [2.0]]), tf.constant([[0.1, 1.0], [2.0, -1.0]])
  gradients = model.reconstruct(x, y)[0, ..., 1].numpy().ravel()
  rows, values = inferred._rows(x, y)
  latent = inferred._encode(network, rows, values).sample(seed=[0, -1])
  decode = lambda at: network.decode(at[:, :0], at, latent)[0].numpy()
  expected = (decode(rows + 1e-2) - decode(rows - 1e-2)) / 2e-2
  np.testing.assert_allclose(gradients, expected, rtol=1e-2, atol=1e-4)


# The figures' runs.


@pytest.mark.slow
def test_figures_are_drawn_of_trained_arms(train_once, monkeypatch):
  errors = inferred.errors
  few = lambda model, x, num_draws: errors(model, x, num_draws=1)
  monkeypatch.setattr(inferred, 'errors', few)
  numbers = [2, 6, 7, 8]  # `test_figures` has the others, of metrics written by hand.
  needed = {arm for n in numbers for arm in arms.FIGURES[n](NUM_POINTS)}
  (directory,) = {train_once(arm) for arm in needed}
  paths = [pathlib.Path(p) for p in run.draw(numbers, SMALL, NUM_POINTS, str(directory))]
  assert [path.name for path in paths] == ['summary.csv'] + [
    f'figure_{n}.{suffix}' for n in numbers for suffix in ('png', 'pdf')
  ]
  assert all(path.stat().st_size > 5_000 for path in paths[1:])
  assert matplotlib.image.imread(directory / 'figure_2.png').std() > 0.05
  with open(paths[0], encoding='utf-8') as file:
    summary = {(r['arm'], r['metric']): r for r in csv.DictReader(file)}
  assert {name for name, _ in summary} == {arm.name for arm in needed}
  rows = experiment.read_metrics(str(directory), arms.Arm('cgmmn', True))
  # Of the evaluations that are not the untrained models'.
  expected = np.mean([row['joint_mmd'] for row in rows[1:]])
  mean = float(summary['cgmmn-sobolev', 'joint_mmd']['mean'])
  np.testing.assert_allclose(mean, expected, rtol=1e-3)
  inferred_errors = np.loadtxt(directory / 'figure_6.csv', delimiter=',', skiprows=1)
  assert inferred_errors.shape == (501, 2)


def test_the_figures_need_arms_of_every_method_and_regime():
  needed = {arm for figure in arms.FIGURES.values() for arm in figure(NUM_POINTS)}
  # 5 arms at unlimited data, 4 methods and 3 noises at each number of points.
  assert len(needed) == 5 + 7
  assert arms.figure_numbers(['all']) == [2, 3, 4, 6, 7, 8, 9, 10]
  assert arms.figure_numbers(['10', '3', '3']) == [3, 10]
  for names in (['5'], ['all', '3'], ['']):
    with pytest.raises(config_lib.ConfigError, match='is not valid: it must be all'):
      arms.figure_numbers(names)


def test_a_run_directory_is_of_the_same_settings(tmp_path):
  directory = str(tmp_path / 'w')
  run.prepare(directory, SMALL)
  run.prepare(directory, SMALL)
  with pytest.raises(config_lib.ConfigError, match='holds figures with'):
    run.prepare(directory, dataclasses.replace(SMALL, num_steps=3))
  (tmp_path / 'w/settings.json').write_text('{')
  with pytest.raises(config_lib.ConfigError, match='is damaged'):
    run.prepare(directory, SMALL)
  with pytest.raises(config_lib.ConfigError, match='has files but no settings'):
    run.prepare(str(tmp_path), SMALL)
  with pytest.raises(config_lib.ConfigError, match='cannot be read or written'):
    run.prepare('/proc/none', SMALL)
  # What a start that was killed has left, and what a job prints, is no obstacle.
  (tmp_path / 'killed').mkdir()
  (tmp_path / 'killed/settings.json.tmp').touch()
  (tmp_path / 'killed/slurm-1.out').touch()
  run.prepare(str(tmp_path / 'killed'), SMALL)


@pytest.mark.parametrize('workdir', ['', 'a*', 'gs://bucket/toy'])
def test_a_run_directory_that_is_no_path_is_a_sentence(workdir):
  with pytest.raises(config_lib.ConfigError, match='^workdir='):
    run.make_figures([7], SMALL, NUM_POINTS, workdir, 1)


# The launcher.


def _start(directory, *flags):
  # JAX, imported beside the tests, leaves its own level in the environment.
  environment = {k: v for k, v in os.environ.items() if k != 'TF_CPP_MIN_LOG_LEVEL'}
  return subprocess.Popen(
    [sys.executable, str(ROOT / 'launchers/run_toy.py'), *flags], cwd=directory,
    text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    env={**environment, 'PYTHONPATH': str(ROOT)},
  )  # fmt: skip


def _group(process):
  """What runs of a process and of those that it has started."""

  def belongs(p):
    try:
      return os.getpgid(p.pid) == process.pid
    except ProcessLookupError:
      return False

  # Nobody may have reaped the dead ones yet.
  everything = psutil.process_iter(['status'])
  return [p for p in everything if p.info['status'] != 'zombie' and belongs(p)]


@pytest.mark.process
def test_the_launcher_trains_and_draws_or_says_what_is_wrong(tmp_path):
  flags = ['--steps=2', '--seeds=1', '--num_points=4', '--workdir=w']
  process = _start(tmp_path, *flags, '--figure=7')
  out, err = process.communicate(timeout=PATIENCE)
  assert process.returncode == 0, err
  assert not err
  lines = out.splitlines()
  w = tmp_path / 'w'
  assert lines[0] == f'1 arms of 1 seeds, {w}'
  files = ('summary.csv', 'figure_7.png', 'figure_7.pdf')
  assert lines[2:] == [f'{w}/{name}' for name in files]
  rows = experiment.read_metrics(
    str(tmp_path / 'w'), arms.Arm('regression', num_points=4)
  )
  assert [(row['step'], row['seed']) for row in rows] == [(0, 0), (2, 0)]
  process = _start(tmp_path, *flags, '--figure=5')
  out, err = process.communicate(timeout=PATIENCE)
  assert process.returncode == 2
  assert err.startswith("figure='5' is not valid")
  assert len(err.splitlines()) == 1
  assert not out


@pytest.mark.process
def test_an_interrupt_says_how_to_go_on_and_leaves_no_process(tmp_path):
  process = _start(tmp_path, '--figure=7,8', '--seeds=1', '--workdir=w')
  try:
    deadline = time.time() + PATIENCE
    while not (tmp_path / 'w/settings.json').exists():
      assert time.time() < deadline
      time.sleep(0.2)
    second = _start(tmp_path, '--figure=7', '--seeds=1', '--workdir=w')
    _, err = second.communicate(timeout=PATIENCE)
    assert second.returncode == 2
    assert 'is in use by another process' in err
    assert len(err.splitlines()) == 1
    while not list((tmp_path / 'w').glob('arms/*/metrics.csv')):
      assert process.poll() is None, process.communicate()
      assert time.time() < deadline
      time.sleep(0.2)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert err.strip() == 'interrupted: the same command goes on from here'
    deadline = time.time() + PATIENCE
    while _group(process):
      assert time.time() < deadline
      time.sleep(0.2)
  finally:
    with contextlib.suppress(ProcessLookupError):
      os.killpg(process.pid, signal.SIGKILL)
