"""Sobolev training outside reinforcement learning."""

import pathlib
import re

import numpy as np
import pytest
import tensorflow as tf

from acme_dsdpg.losses import kernels
from acme_dsdpg.toy import metrics, problem, supervised
from tests.oracles import kernels as oracle_kernels
from tests.oracles import mmd as oracle_mmd

MIXTURE = (0.01, 0.05, 0.1, 0.5, 1.0, 10.0, 100.0)


def _trainer(
  num_models=1, use_gradients=True, regression=False, sizes=(16, 16), **kwargs
):
  noise_dim = 0 if regression else 10
  generators = [
    supervised.MLPGenerator(1, noise_dim, sizes, seed=i) for i in range(num_models)
  ]
  return _trainer_of(generators, regression, use_gradients=use_gradients, **kwargs)


def _trainer_of(generators, regression=False, jit_compile=False, **kwargs):
  """Not compiled by XLA unless asked for: that takes longer than a few small steps."""
  loss = dict(kernel=kernels.RBF(MIXTURE), num_samples=4, noise_dim=10)
  loss = {} if regression else loss
  return supervised.SobolevTrainer(generators, jit_compile=jit_compile, **loss, **kwargs)


def _train(trainer, num_steps, use_gradients=True, start=0):
  losses = []
  for i in range(start, start + num_steps):
    batch = problem.draw(tf.constant([7, i]), 64)
    losses.append(
      trainer.step(batch.x, batch.y, batch.dy_dx if use_gradients else None).numpy()
    )
  return np.array(losses)


@pytest.mark.parametrize('use_gradients', [True, False])
def test_loss_is_the_oracles_mmd_of_joint_samples(use_gradients):
  trainer = _trainer(use_gradients=use_gradients)
  (generator,) = trainer._generators
  batch = problem.draw(tf.constant([0, 1]), 3)
  seed = tf.random.experimental.stateless_fold_in([0, 0], 0)
  noise = tf.random.stateless_normal([3, 4, 10], seed)
  x = supervised.sobolev_samples(generator, batch.x, noise, use_gradients).numpy()
  y = tf.concat([batch.y[..., tf.newaxis], batch.dy_dx], -1).numpy()[..., : x.shape[-1]]
  kernel = lambda a, b: oracle_kernels.rbf(a, b, MIXTURE)
  pairs = zip(x.astype(np.float64), y.astype(np.float64))
  expected = np.mean([oracle_mmd.mmd2(a, b, kernel) for a, b in pairs])
  loss = trainer.step(batch.x, batch.y, batch.dy_dx if use_gradients else None)
  np.testing.assert_allclose(loss, [expected], rtol=1e-4)


def test_regressions_loss_is_the_squared_error_to_every_sample():
  trainer = _trainer(regression=True)
  batch = problem.draw(tf.constant([0, 1]), 3)
  f, df = np.moveaxis(trainer.samples(batch.x)[0, :, 0].numpy(), -1, 0)
  errors = (f[:, np.newaxis] - batch.y) ** 2
  errors += (df[:, np.newaxis] - batch.dy_dx[..., 0]) ** 2
  loss = trainer.step(batch.x, batch.y, batch.dy_dx)
  np.testing.assert_allclose(loss, [np.mean(errors)], rtol=1e-5)


def test_samples_gradients_match_finite_differences():
  network = supervised.MLPGenerator(2, 3, (8, 8), dtype=tf.float64)
  rng = np.random.default_rng(0)
  x, noise = rng.normal(size=(4, 2)), rng.normal(size=(4, 5, 3))
  sample = lambda x: supervised.sobolev_samples(
    network, tf.constant(x), tf.constant(noise)
  )
  value, step = sample(x).numpy(), 1e-6
  for i, e in enumerate(step * np.eye(2)):
    difference = sample(x + e).numpy()[..., 0] - sample(x - e).numpy()[..., 0]
    np.testing.assert_allclose(value[..., 1 + i], difference / (2 * step), rtol=1e-6)


@pytest.mark.slow
def test_models_trained_together_do_not_see_each_other():
  together = _trainer(2)
  losses = _train(together, 3)
  # Beside another one, or none.
  make = lambda seed, sizes: supervised.MLPGenerator(1, 10, sizes, seed=seed)
  pairs = [make(0, (16, 16))], [make(5, (8,)), make(1, (16, 16))]
  for i, generators in enumerate(pairs):
    trainer = _trainer_of(generators)
    np.testing.assert_allclose(_train(trainer, 3)[:, i], losses[:, i], rtol=1e-5)
    for a, b in zip(generators[i].variables, together._generators[i].variables):
      np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_each_model_of_each_seed_draws_noise_of_its_own_at_each_step():
  batch = problem.draw(tf.constant([0, 1]), 3)
  losses = []  # Of equal weights and data they differ where the noise does.
  for seed in (0, 1):
    generators = [supervised.MLPGenerator(1, 10, (4,)) for _ in range(2)]
    trainer = _trainer_of(generators, seed=seed, learning_rate=0.0, use_gradients=False)
    losses += [trainer.step(batch.x, batch.y).numpy() for _ in range(2)]
  assert len(np.unique(losses)) == 8


def test_a_checkpoint_goes_on_as_if_nothing_had_happened(tmp_path):
  whole = _trainer()
  _train(whole, 3)
  path = tf.train.Checkpoint(trainer=whole).write(str(tmp_path / 'c'))
  rest = _train(whole, 3, start=3)
  resumed = _trainer()
  tf.train.Checkpoint(trainer=resumed).read(path).assert_consumed()
  np.testing.assert_array_equal(_train(resumed, 3, start=3), rest)


@pytest.mark.parametrize(
  ('use_gradients', 'low', 'high'), [(True, 0.0, 0.3), (False, 0.48, 0.6)]
)
def test_from_gradients_it_learns_the_joint_distribution_sooner(use_gradients, low, high):
  # The one test that is compiled by XLA, as the figures are.
  trainer = _trainer(
    use_gradients=use_gradients, sizes=(64, 64), learning_rate=3e-3, jit_compile=True
  )

  @tf.function
  def train():
    for i in tf.range(400):
      batch = problem.draw(tf.stack([7, i]), 64)
      trainer.step(batch.x, batch.y, batch.dy_dx if use_gradients else None)

  train()
  x = problem.grid(50)
  # 0.77 untrained, 0.58 for the conditional mean.
  assert low < metrics.joint_mmd(trainer.samples(x, 64)[0], x).numpy() < high


@pytest.mark.parametrize(
  ('shapes', 'message'),
  [
    (([5, 1], [5, 4], None), 'dy_dx is missing'),
    (([5, 1], [5, 4], [5, 4]), r'dy_dx has shape \(5, 4\), must have \(5, 4, 1\)'),
    (([5, 1], [5, 4], [5, 3, 1]), 'must have'),
    (([5, 1], [6, 4], [6, 4, 1]), 'differ in their leading axes'),
    (([5], [5, 4], [5, 4, 1]), r'must be \[B, X\]'),
    (([3, 5, 1], [3, 5, 4], [3, 5, 4, 1]), 'another number of models than 1'),
  ],
)
def test_shapes_that_do_not_fit_are_named(shapes, message):
  arrays = [None if shape is None else np.zeros(shape, np.float32) for shape in shapes]
  with pytest.raises(ValueError, match=message):
    _trainer().step(*arrays)


def test_a_gradient_that_is_not_used_is_refused():
  batch = problem.draw(tf.constant([0, 1]), 3)
  with pytest.raises(ValueError, match='use_gradients is False'):
    _trainer(use_gradients=False).step(batch.x, batch.y, batch.dy_dx)


@pytest.mark.parametrize(
  ('make', 'message'),
  [
    (lambda g: supervised.SobolevTrainer([]), 'generators is empty'),
    (lambda g: supervised.SobolevTrainer([g], num_samples=0), 'num_samples=0'),
    (lambda g: supervised.SobolevTrainer([g], noise_dim=3), 'noise_dim=3'),
    (
      lambda g: supervised.SobolevTrainer([g], kernels.RBF((1.0,)), num_samples=4),
      'noise_dim=0',
    ),
    (
      lambda g: supervised.SobolevTrainer([g], kernels.RBF((1.0,)), 1, 3),
      'num_samples=1',
    ),
    (lambda g: supervised.SobolevTrainer([tf.keras.Sequential()]), 'build'),
    (lambda g: kernels.RBF((float('nan'),)), 'greater than 0'),
    (lambda g: supervised.SobolevTrainer([g], num_samples=4), 'takes num_samples=1'),
    (lambda g: kernels.RBF(()), r'bandwidths=\(\) is not valid'),
    (lambda g: kernels.RBF((1.0, 0.0)), 'greater than 0'),
  ],
)
def test_what_cannot_be_trained_is_refused(make, message):
  with pytest.raises(ValueError, match=message):
    make(supervised.MLPGenerator(1, 0, (4,)))


def test_arrays_of_float64_are_taken():
  trainer = _trainer()
  rng = np.random.default_rng(0)
  x, y, dy_dx = (
    rng.normal(size=(3, 1)),
    rng.normal(size=(3, 4)),
    rng.normal(size=(3, 4, 1)),
  )
  assert np.isfinite(trainer.step(x, y, dy_dx)).all()
  assert trainer.samples(x, 2).shape == [1, 3, 2, 2]


def test_the_documentations_example_runs():
  root = pathlib.Path(__file__).parents[2]
  texts = [path.read_text() for path in (root / 'README.md', *root.glob('docs/*.md'))]
  (code,) = (
    code
    for text in texts
    for code in re.findall(r'```python\n(.*?)```', text, re.DOTALL)
    if 'SobolevTrainer' in code
  )
  assert 'range(1_000)' in code
  space = {}
  exec(code.replace('range(1_000)', 'range(2)'), space)
  assert space['samples'].shape == [1, 128, 100, 3]


@pytest.mark.parametrize('where', ['x', 'y', 'dy_dx'])
def test_a_row_that_is_not_finite_is_skipped_and_counted_by_its_model_alone(where):
  trainer, clean = _trainer(2), _trainer(2)
  weights = lambda t, i: [v.numpy() for v in t._generators[i].trainable_variables]
  batch = problem.draw(tf.constant([0, 1]), 3)
  both = {
    name: np.stack([getattr(batch, name).numpy()] * 2) for name in ('x', 'y', 'dy_dx')
  }
  bad = {name: value.copy() for name, value in both.items()}
  bad[where][0, 1] = np.nan
  before = weights(trainer, 0)
  trainer.step(**bad)
  clean.step(**both)
  assert trainer.skipped_updates.numpy().tolist() == [1, 0]
  for a, b in zip(before, weights(trainer, 0), strict=True):
    np.testing.assert_array_equal(a, b)
  for a, b in zip(weights(trainer, 1), weights(clean, 1), strict=True):
    np.testing.assert_array_equal(a, b)
  assert np.isfinite(trainer.step(**both)).all()
  assert trainer.skipped_updates.numpy().tolist() == [1, 0]
  assert any(np.any(a != b) for a, b in zip(before, weights(trainer, 0)))
