"""Training of the figures' arms, resumption, and the launcher."""

import csv
import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
import time

import matplotlib.image
import numpy as np
import psutil
import pytest
import tensorflow as tf

from acme_dsdpg.toy import arms, experiment, inferred, problem

ROOT = pathlib.Path(__file__).resolve().parents[2]
SMALL = arms.Settings(num_steps=6, num_seeds=1, eval_every=2)
ARMS = [
  arms.Arm('cgmmn', True, num_points=4),
  arms.Arm('regression', num_points=4, input_noise=0.1),
  arms.Arm('regression', True),
  arms.Arm('cvae', num_points=4),
]


def _train(arm, settings, directory, **kwargs):
  experiment.train(arm, settings, str(directory), jit_compile=False, **kwargs)
  return experiment.read_metrics(str(directory), arm)


@pytest.mark.parametrize('arm', ARMS, ids=lambda arm: arm.name)
def test_an_arm_stopped_goes_on_with_the_same_curve(arm, tmp_path):
  # Two seeds where they cost least.
  num_seeds = 2 if arm.input_noise else 1
  settings = dataclasses.replace(SMALL, num_seeds=num_seeds)
  whole = _train(arm, settings, tmp_path / 'whole')
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
    _train(arm, settings, tmp_path / 'parts', report=stop)
  assert len(experiment.read_metrics(str(tmp_path / 'parts'), arm)) == 3 * num_seeds
  reported = []
  parts = _train(arm, settings, tmp_path / 'parts', report=reported.append)
  assert reported == [4, 2]
  for a, b in zip(whole, parts):
    assert {k: v for k, v in a.items() if k != 'seconds'} == {
      k: v for k, v in b.items() if k != 'seconds'
    }


def test_rows_past_the_checkpoint_are_dropped_on_resuming(tmp_path):
  arm = ARMS[1]
  whole = _train(arm, SMALL, tmp_path)
  path = tmp_path / 'arms' / arm.name
  # As if it had been killed between the metrics of step 6 and its checkpoint.
  for file in path.glob('ckpt-6*'):
    file.unlink()
  _train(arm, arms.Settings(4, 1, 2), tmp_path / 'short')
  for file in (tmp_path / 'short' / 'arms' / arm.name).glob('ckpt*'):
    file.rename(path / file.name)
  (tmp_path / 'short' / 'arms' / arm.name / 'checkpoint').replace(path / 'checkpoint')
  again = _train(arm, SMALL, tmp_path)
  assert [r['step'] for r in again] == [r['step'] for r in whole]
  assert again[-1]['gradient_error'] == whole[-1]['gradient_error']


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


def _rows(workdir, arm):
  with open(workdir / f'arms/{arm}/metrics.csv', encoding='utf-8') as file:
    return list(csv.DictReader(file))


def _group(pid):
  try:
    return os.getpgid(pid)
  except ProcessLookupError:
    return None


def _environment():
  # JAX, imported beside the tests, leaves its own level in the environment.
  return {k: v for k, v in os.environ.items() if k != 'TF_CPP_MIN_LOG_LEVEL'}


def _launch(tmp_path, *flags, **kwargs):
  return subprocess.run(
    [sys.executable, str(ROOT / 'launchers/run_toy.py'), *flags],
    cwd=tmp_path, text=True, capture_output=True, timeout=900, check=False,
    env=_environment(), **kwargs,
  )  # fmt: skip


def test_every_figures_command_runs_small(tmp_path):
  flags = ['--steps=2', '--seeds=1', '--num_points=4', '--parallel=1', '--workdir=w']
  done = _launch(tmp_path, *flags, '--figure=all')
  assert done.returncode == 0, done.stderr
  for n in arms.FIGURES:
    for suffix in ('png', 'pdf'):
      assert (tmp_path / f'w/figure_{n}.{suffix}').stat().st_size > 5_000
  picture = matplotlib.image.imread(tmp_path / 'w/figure_3.png')
  assert picture.std() > 0.05
  for metrics in (tmp_path / 'w/arms').glob('*/metrics.csv'):
    with open(metrics, encoding='utf-8') as file:
      rows = list(csv.DictReader(file))
    assert {(r['step'], r['seed']) for r in rows} == {(step, '0') for step in '02'}
  with open(tmp_path / 'w/summary.csv', encoding='utf-8') as file:
    summary = {(r['arm'], r['metric']): r for r in csv.DictReader(file)}
  # Of the one evaluation that is not the untrained models'.
  last = _rows(tmp_path / 'w', 'cgmmn')[-1]
  row = summary['cgmmn', 'joint_mmd']
  np.testing.assert_allclose(float(row['mean']), float(last['joint_mmd']), rtol=1e-3)
  inferred_errors = np.loadtxt(tmp_path / 'w/figure_6.csv', delimiter=',', skiprows=1)
  assert inferred_errors.shape == (501, 2)
  # 5 arms at unlimited data, 4 methods and 3 noises at each number of points.
  assert len(list((tmp_path / 'w/arms').iterdir())) == 5 + 7
  assert not done.stderr
  # What is done is not done again; other settings are refused.
  trained = {p: p.stat().st_mtime_ns for p in (tmp_path / 'w/arms').glob('*/ckpt*')}
  summary = (tmp_path / 'w/summary.csv').read_text()
  again = _launch(tmp_path, *flags, '--figure=6')
  assert again.returncode == 0
  assert 'figure_6.png' in again.stdout
  assert trained == {p: p.stat().st_mtime_ns for p in trained}
  assert (tmp_path / 'w/summary.csv').read_text() == summary  # Of all, still.
  other = _launch(tmp_path, '--steps=3', '--workdir=w', '--figure=6')
  assert other.returncode == 2
  assert 'holds figures with' in other.stderr


def test_an_interrupt_says_how_to_go_on_and_leaves_no_process(tmp_path):
  flags = ('--figure=7,8', '--seeds=1', '--workdir=w')
  process = subprocess.Popen(
    [sys.executable, str(ROOT / 'launchers/run_toy.py'), *flags],
    cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    start_new_session=True, env=_environment(),
  )  # fmt: skip
  begun = lambda: list((tmp_path / 'w').glob('arms/*/metrics.csv'))
  deadline = time.time() + 120
  while not begun() and time.time() < deadline:
    time.sleep(0.2)
  assert begun()
  os.killpg(process.pid, signal.SIGINT)
  _, err = process.communicate(timeout=30)
  assert process.returncode == 130
  assert err.strip() == 'interrupted: the same command goes on from here'

  def left():
    # Nobody may have reaped the dead ones yet.
    return [
      p
      for p in psutil.process_iter(['status'])
      if p.info['status'] != psutil.STATUS_ZOMBIE and _group(p.pid) == process.pid
    ]

  deadline = time.time() + 20
  while left() and time.time() < deadline:
    time.sleep(0.2)
  assert not left()


@pytest.mark.parametrize(
  ('flag', 'message'),
  [
    ('--figure=5', "figure='5' is not valid"),
    ('--num_points=4,x', "num_points='4,x' is not valid"),
    ('--num_points=0', 'greater than 0'),
    ('--workdir=/proc/none', 'cannot be written'),
  ],
)
def test_bad_input_is_one_sentence(flag, message, tmp_path):
  done = _launch(tmp_path, flag)
  assert done.returncode == 2
  assert message in done.stderr
  assert len(done.stderr.strip().splitlines()) == 1
  assert not list(tmp_path.iterdir())
