"""Training of the arms: one arm is one method in one regime, all its seeds.

An arm's directory holds `metrics.csv` and a checkpoint of all its models. The two are
written together at every evaluation, so that an arm which was stopped at any moment
goes on from the last one, with the curve of an arm that was not stopped.
"""

from contextlib import nullcontext
import csv
import os
import time
from typing import Any, Callable, Dict, List, Optional, Protocol, Sequence

import numpy as np
import tensorflow as tf

from acme_dsdpg.losses import kernels
from acme_dsdpg.running import native_stderr
from acme_dsdpg.toy import inferred, metrics, problem, supervised
from acme_dsdpg.toy.arms import BATCH_SIZE, NUM_SAMPLES, Arm, Settings

# A.7. The generator's network is `supervised.MLPGenerator`'s default.
NOISE_DIM = 10
BANDWIDTHS = (0.01, 0.05, 0.1, 0.5, 1.0, 10.0, 100.0)

# Of the metrics: points over [0, 5], samples of a cGMMN at each. As many samples of the
# truth itself have a joint MMD of 0.030 and a gradient error of 0.0018.
EVALUATION_POINTS = 50
EVALUATION_SAMPLES = 512
LAST_EVALUATIONS = 10  # Averaged for a value at the end.
_SECOND_DERIVATIVE_SAMPLES = 32  # A mean of absolute values: few are enough.


class Model(Protocol):
  """The models of an arm's seeds, to be trained, saved and measured."""

  trainer: tf.Module

  def step(self, step: tf.Tensor):
    """Draws the batch of this step, int scalar, and takes it."""

  def evaluate(self) -> List[Dict[str, float]]:
    """Computes the metrics of each seed."""


def make(arm: Arm, num_seeds: int, jit_compile: bool = True) -> Model:
  """Makes the untrained models of an arm."""
  kind = _Autoencoder if arm.method == 'cvae' else _Generator
  return kind(arm, num_seeds, jit_compile)


def train(
  arm: Arm,
  settings: Settings,
  directory: str,
  report: Callable[[int], None] = lambda steps: None,
  jit_compile: bool = True,
):
  """Trains an arm to its end, or goes on where it stopped.

  Args:
    arm: what to train.
    settings: shared by the arms.
    directory: of the run; the arm's own is below it.
    report: called with the steps taken since the last call.
    jit_compile: compile the step with XLA.
  """
  path = arm_directory(directory, arm)
  os.makedirs(path, exist_ok=True)
  model = make(arm, settings.num_seeds, jit_compile)
  manager = _manager(model, path)
  # Everything of TensorFlow's is there from the first evaluation on.
  last = -1
  if manager.restore_or_initialize():
    last = int(model.trainer.num_steps)
  rows = [row for row in read_metrics(directory, arm) if row['step'] <= last]
  seconds = rows[-1]['seconds'] if rows else 0.0
  if last < 0:
    rows += _evaluate(model, 0, 0.0)
    _save(model, manager, path, rows)
  first = start = max(last, 0)
  report(start)
  clock = time.time()
  for step in range(start + 1, settings.num_steps + 1):
    # XLA says there, on stderr, that it has compiled.
    compiling = native_stderr.redirected(path) if step == first + 1 else nullcontext()
    with compiling:
      model.step(tf.constant(step - 1))
    if step % settings.eval_every == 0 or step == settings.num_steps:
      rows += _evaluate(model, step, seconds + time.time() - clock)
      _save(model, manager, path, rows)
      report(step - start)
      start = step


def restore(arm: Arm, num_seeds: int, directory: str) -> Model:
  """Restores the trained models of an arm.

  Raises:
    FileNotFoundError: it has not been trained.
  """
  model = make(arm, num_seeds)
  path = arm_directory(directory, arm)
  manager = _manager(model, path)
  if not manager.restore_or_initialize():
    raise FileNotFoundError(f'{path!r} holds no checkpoint: train the arm first.')
  return model


def read_metrics(directory: str, arm: Arm) -> List[Dict[str, float]]:
  """Reads the rows of an arm's `metrics.csv`; none before its first evaluation."""
  try:
    with open(_metrics_file(directory, arm), encoding='utf-8') as file:
      rows = list(csv.DictReader(file))
  except FileNotFoundError:
    return []
  whole = ('step', 'seed')
  return [{k: int(v) if k in whole else float(v) for k, v in r.items()} for r in rows]


def at_the_end(directory: str, arm: Arm, metric: str) -> np.ndarray:
  """Computes a metric of each seed, [E], its mean over `LAST_EVALUATIONS`."""
  rows = [row for row in read_metrics(directory, arm) if row['step']]
  last = sorted({row['step'] for row in rows})[-LAST_EVALUATIONS:]
  seeds = sorted({row['seed'] for row in rows})
  return np.array(
    [
      np.mean([r[metric] for r in rows if r['seed'] == seed and r['step'] in last])
      for seed in seeds
    ]
  )


def write_summary(path: str, directory: str, arms: Sequence[Arm], settings: Settings):
  """Writes each metric at the end of each arm that is there, over its seeds.

  As mean, standard deviation (of a sample, n - 1), least and most.
  """
  with open(path, 'w', encoding='utf-8', newline='') as file:
    writer = csv.writer(file, lineterminator='\n')
    writer.writerow(['arm', 'metric', 'mean', 'std', 'min', 'max', 'seconds'])
    for arm in arms:
      rows = read_metrics(directory, arm)
      if not rows or rows[-1]['step'] < settings.num_steps:
        continue
      for metric in [k for k in rows[0] if k not in ('step', 'seed', 'seconds')]:
        x = at_the_end(directory, arm, metric)
        std = np.std(x, ddof=1) if len(x) > 1 else 0.0
        cells = [f'{value:.4g}' for value in (x.mean(), std, x.min(), x.max())]
        writer.writerow([arm.name, metric, *cells, round(rows[-1]['seconds'])])


def arm_directory(directory: str, arm: Arm) -> str:
  """Returns the directory of an arm's files."""
  return os.path.join(directory, 'arms', arm.name)


def _metrics_file(directory: str, arm: Arm) -> str:
  return os.path.join(arm_directory(directory, arm), 'metrics.csv')


def _manager(model: Model, path: str) -> tf.train.CheckpointManager:
  checkpoint = tf.train.Checkpoint(trainer=model.trainer)
  return tf.train.CheckpointManager(checkpoint, path, max_to_keep=1)


def _evaluate(model: Model, step: int, seconds: float) -> List[Dict[str, Any]]:
  return [
    dict(step=step, seed=seed, seconds=round(seconds, 1), **values)
    for seed, values in enumerate(model.evaluate())
  ]


def _save(model: Model, manager: tf.train.CheckpointManager, path: str, rows):
  """Saves, the metrics first: rows past the checkpoint's step are dropped on resuming."""
  target = os.path.join(path, 'metrics.csv')
  with open(f'{target}.tmp', 'w', encoding='utf-8', newline='') as file:
    writer = csv.DictWriter(file, rows[0], lineterminator='\n')
    writer.writeheader()
    writer.writerows(rows)
  os.replace(f'{target}.tmp', target)
  manager.save(checkpoint_number=int(model.trainer.num_steps))


class _Data:
  """Batches of each seed: x [E, B, 1], y [E, B, N], dy/dx [E, B, N, 1]."""

  def __init__(self, arm: Arm, num_seeds: int):
    self._arm = arm
    self._seeds = range(num_seeds)
    self.fixed = None
    if arm.num_points is not None:
      self.fixed = _stack(
        problem.draw(tf.constant([seed, -1]), arm.num_points, NUM_SAMPLES)
        for seed in self._seeds
      )
    self.draw = tf.function(self._draw, autograph=False)

  def _draw(self, step: tf.Tensor) -> problem.Samples:
    batch = self.fixed
    if batch is None:
      batch = _stack(
        problem.draw(tf.stack([seed, step]), BATCH_SIZE, NUM_SAMPLES)
        for seed in self._seeds
      )
    if self._arm.input_noise:
      noise = tf.stack(
        [
          tf.random.stateless_normal(batch.x.shape[1:], tf.stack([~seed, step]))
          for seed in self._seeds
        ]
      )
      batch = batch._replace(x=batch.x + self._arm.input_noise * noise)
    return batch


def _stack(samples) -> problem.Samples:
  return problem.Samples(*(tf.stack(parts) for parts in zip(*samples)))


class _Generator:
  """A cGMMN or a regression."""

  def __init__(self, arm: Arm, num_seeds: int, jit_compile: bool):
    self._arm = arm
    self._data = _Data(arm, num_seeds)
    sampled = arm.method == 'cgmmn'
    noise_dim = NOISE_DIM if sampled else 0
    self.generators = [
      supervised.MLPGenerator(1, noise_dim, seed=seed) for seed in range(num_seeds)
    ]
    self.trainer = supervised.SobolevTrainer(
      self.generators,
      kernels.RBF(BANDWIDTHS) if sampled else None,
      num_samples=NUM_SAMPLES if sampled else 1,
      noise_dim=noise_dim,
      use_gradients=arm.sobolev,
      jit_compile=jit_compile,
    )
    self._num_samples = EVALUATION_SAMPLES if sampled else 1
    self._noise_dim = noise_dim
    self._measure = tf.function(self._metrics, autograph=False)

  def step(self, step: tf.Tensor):
    batch = self._data.draw(step)
    self.trainer.step(batch.x, batch.y, batch.dy_dx if self._arm.sobolev else None)

  def evaluate(self) -> List[Dict[str, float]]:
    by_seed = self._measure()
    return [{k: float(v) for k, v in values.items()} for values in by_seed]

  @property
  def points(self) -> Optional[problem.Samples]:
    """Points of every seed, where they are drawn once: x [E, B, 1] and so on."""
    return self._data.fixed

  def samples(self, x: tf.Tensor, num_samples: int) -> tf.Tensor:
    """Draws [f ; f'] of every seed at x [B, 1]: [E, B, M, 2]; M = 1 of a regression."""
    return self.trainer.samples(x, num_samples if self._noise_dim else 1)

  def _metrics(self) -> List[Dict[str, tf.Tensor]]:
    x = problem.grid(EVALUATION_POINTS)
    drawn = self.trainer.samples(x, self._num_samples)
    few = min(self._num_samples, _SECOND_DERIVATIVE_SAMPLES)
    noise = tf.random.stateless_normal([x.shape[0], few, self._noise_dim], [1, 0])
    return [
      dict(
        joint_mmd=metrics.joint_mmd(samples, x),
        gradient_error=metrics.gradient_error(samples, x),
        second_derivative=metrics.second_derivative_norm(generator, x, noise),
      )
      for generator, samples in zip(self.generators, tf.unstack(drawn))
    ]


class _Autoencoder:
  """The cVAE trained on y alone, whose gradients are inferred (A.6)."""

  def __init__(self, arm: Arm, num_seeds: int, jit_compile: bool):
    self._data = _Data(arm, num_seeds)
    self.trainer = inferred.GradientInference(num_seeds, jit_compile=jit_compile)

  def step(self, step: tf.Tensor):
    batch = self._data.draw(step)
    self.trainer.step(batch.x, batch.y)

  def evaluate(self) -> List[Dict[str, float]]:
    x = problem.grid(EVALUATION_POINTS)
    errors = inferred.errors(self.trainer, x, num_draws=4)
    return [
      dict(
        reconstruction_error=float(tf.reduce_mean(value)),
        gradient_error=float(tf.reduce_mean(gradient)),
      )
      for value, gradient in zip(*map(tf.unstack, errors))
    ]
