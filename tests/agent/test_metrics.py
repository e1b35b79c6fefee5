"""Logged metrics against their definitions in NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from acme_dsdpg.agent import metrics
from acme_dsdpg.losses import directional


def test_sample_metrics_are_their_definitions():
  rng = np.random.default_rng(0)
  x, y = rng.normal(size=(3, 4, 3)), rng.normal(size=(3, 5, 3))
  actual = metrics.sample_metrics(tf.constant(x), tf.constant(y))
  errors = [y[b, :, 0].mean() - x[b, :, 0].mean() for b in range(3)]
  expected = {
    'return_mean': x[..., 0].mean(),
    'return_spread': np.mean([x[b, :, 0].std() for b in range(3)]),
    'target_mean': y[..., 0].mean(),
    'target_spread': np.mean([y[b, :, 0].std() for b in range(3)]),
    'td_error_mean': np.mean(errors),
    'td_error_abs': np.mean(np.abs(errors)),
  }
  for name, samples in (('gradient', x), ('target_gradient', y)):
    gradients = samples[..., 1:]
    expected[f'{name}_norm'] = np.mean(
      [np.linalg.norm(g) for g in gradients.reshape(-1, 2)]
    )
    spreads = [gradients[b, :, i].std() for b in range(3) for i in range(2)]
    expected[f'{name}_spread'] = np.mean(spreads)
  assert actual.keys() == expected.keys()
  for name, value in expected.items():
    np.testing.assert_allclose(actual[name], value, rtol=1e-12, err_msg=name)


def test_samples_without_gradients_have_no_metrics_of_gradients():
  x = tf.ones([2, 3, 1])
  assert not any('gradient' in name for name in metrics.sample_metrics(x, x))


@pytest.mark.parametrize('num_directions', [1, 3])
def test_along_directions_the_mean_square_of_the_norm_is_that_of_the_gradient(
  num_directions,
):
  gradient = np.array([3.0, 0.0, -4.0])
  u = directional.random_directions([0, 1], 4_000, num_directions, 3, tf.float64)
  along = np.einsum('bdx,x->bd', u, gradient)[:, np.newaxis]
  samples = tf.concat([tf.ones_like(along[..., :1]), along], axis=-1)
  norm = metrics.sample_metrics(samples, samples)['gradient_norm']
  np.testing.assert_allclose(np.mean(np.sum(along**2, axis=-1)), 25.0, rtol=0.05)
  np.testing.assert_allclose(norm, np.mean(np.linalg.norm(along, axis=-1)), rtol=1e-12)
  assert norm < 5.0


@pytest.mark.parametrize('size', [1.0, 1e-30, 1e25])
def test_the_norm_neither_overflows_nor_underflows(size):
  x = [tf.constant([-1.0, -2.0]) * size, tf.constant([[-2.0, 0.0], [0.0, -4.0]]) * size]
  np.testing.assert_allclose(metrics.norm(x), 5.0 * size, rtol=1e-5)


def test_the_norm_of_nothing_is_zero_and_of_nan_is_not_finite():
  assert metrics.norm([tf.zeros(3)]) == 0.0
  for value in (np.nan, np.inf):
    assert not np.isfinite(metrics.norm([tf.constant([1.0, value])]))
