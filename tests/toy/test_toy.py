"""The toy problem and its metrics against closed forms and the oracle."""

import numpy as np
import pytest
import tensorflow as tf

from acme_dsdpg.toy import metrics, problem, supervised
from tests.oracles import kernels as oracle_kernels
from tests.oracles import mmd as oracle_mmd

X = np.array([[0.0], [0.4], [1.7], [np.pi], [4.9]])


def _modes(x):
  """[[y, dy/dx]] of the five modes at one x, without TensorFlow."""
  return [[a * np.sin(x), a * np.cos(x)] for a in range(5)]


def test_modes_are_the_distribution():
  y, dy_dx = (t.numpy() for t in problem.modes(tf.constant(X))[1:])
  expected = np.array([_modes(x) for x in X[:, 0]])
  np.testing.assert_allclose(y, expected[..., 0], atol=1e-12)
  np.testing.assert_allclose(dy_dx[..., 0], expected[..., 1], atol=1e-12)
  np.testing.assert_allclose(dy_dx.mean(1), problem.expected_gradient(tf.constant(X)))
  # E a^2 = 6: second moments of the mixture.
  np.testing.assert_allclose((y**2).mean(1), 6 * np.sin(X[:, 0]) ** 2, atol=1e-12)


def test_draws_are_of_the_modes_uniform_and_seeded():
  drawn = problem.draw(tf.constant([3, 4]), 5000)
  assert drawn.x.shape == [5000, 1]
  assert drawn.y.shape == [5000, 4]
  assert drawn.dy_dx.shape == [5000, 4, 1]
  x = drawn.x.numpy()
  assert 0.0 <= x.min() < 0.01
  assert 4.99 < x.max() <= 5.0
  np.testing.assert_allclose(np.histogram(x, 5, (0, 5))[0] / 5000, 0.2, atol=0.02)
  away = np.abs(np.sin(x[:, 0])) > 0.1
  slopes = (drawn.y.numpy() / np.sin(x))[away]
  np.testing.assert_allclose(slopes, np.round(slopes), atol=1e-3)
  counts = np.bincount(np.round(slopes).astype(int).ravel(), minlength=5)
  np.testing.assert_allclose(counts / counts.sum(), 0.2, atol=0.01)
  np.testing.assert_allclose(
    drawn.dy_dx[..., 0][away], slopes * np.cos(x)[away], atol=5e-3
  )
  again = problem.draw(tf.constant([3, 4]), 5000)
  np.testing.assert_array_equal(drawn.y, again.y)
  assert np.any(drawn.y != problem.draw(tf.constant([3, 5]), 5000).y)


def test_joint_mmd_equals_the_oracles_mean_over_x():
  samples = np.random.default_rng(0).normal(size=(len(X), 7, 2))
  kernel = lambda a, b: oracle_kernels.rational_quadratic(a, b, 1.0)
  expected = np.mean(
    [
      np.sqrt(oracle_mmd.mmd2(drawn, np.array(_modes(x)), kernel))
      for drawn, x in zip(samples, X[:, 0])
    ]
  )
  actual = metrics.joint_mmd(tf.constant(samples), tf.constant(X))
  np.testing.assert_allclose(actual, expected, rtol=1e-10)


def test_joint_mmd_equals_that_to_a_large_sample_of_the_truth():
  rng = np.random.default_rng(1)
  samples = rng.normal(size=(len(X), 60, 2))
  amplitudes = rng.integers(0, 5, size=[len(X), 20_000, 1])
  drawn = amplitudes * np.concatenate([np.sin(X), np.cos(X)], axis=1)[:, np.newaxis]

  def mean_kernel(x, y):
    squared = np.sum((x[:, :, np.newaxis] - y[:, np.newaxis]) ** 2, axis=-1)
    return np.mean(1.0 / (1.0 + squared / 2.0), axis=(1, 2))

  # Of so many draws, k(Y, Y') is the mean over disjoint pairs.
  pairs = np.sum((drawn[:, ::2] - drawn[:, 1::2]) ** 2, axis=-1)
  expected = np.mean(
    np.sqrt(
      mean_kernel(samples, samples)
      + np.mean(1.0 / (1.0 + pairs / 2.0), axis=1)
      - 2.0 * mean_kernel(samples, drawn)
    )
  )
  actual = metrics.joint_mmd(tf.constant(samples), tf.constant(X))
  np.testing.assert_allclose(actual, expected, rtol=0.01)


def test_joint_mmd_is_zero_at_the_truth_and_small_for_many_samples_of_it():
  true = problem.modes(tf.constant(X))
  exact = tf.stack([true.y, true.dy_dx[..., 0]], axis=-1)
  np.testing.assert_allclose(metrics.joint_mmd(exact, tf.constant(X)), 0.0, atol=1e-7)
  chosen = np.random.default_rng(0).integers(0, 5, size=2000)
  many = tf.gather(exact, chosen, axis=1)
  # E MMD^2 = (1 - E k(Y, Y')) / 2000, where the kernel of two modes does not depend on
  # x, as |a - b|^2 (sin^2 + cos^2) does not.
  between = np.mean([1 / (1 + (a - b) ** 2 / 2) for a in range(5) for b in range(5)])
  expected = np.sqrt((1 - between) / 2000)
  np.testing.assert_allclose(metrics.joint_mmd(many, tf.constant(X)), expected, rtol=0.5)
  # What a regression can reach: all of its mass on the mean, a = 2.
  mean = tf.reduce_mean(exact, axis=1, keepdims=True)
  to_mean = np.mean([1 / (1 + (a - 2) ** 2 / 2) for a in range(5)])
  expected = np.sqrt(1 + between - 2 * to_mean)
  np.testing.assert_allclose(metrics.joint_mmd(mean, tf.constant(X)), expected)


def test_gradient_error_in_closed_form():
  true = problem.modes(tf.constant(X))
  exact = tf.stack([true.y, true.dy_dx[..., 0]], axis=-1)
  np.testing.assert_allclose(
    metrics.gradient_error(exact, tf.constant(X)), 0.0, atol=1e-12
  )
  shifted = exact + tf.constant([9.0, 0.5], tf.float64)
  np.testing.assert_allclose(metrics.gradient_error(shifted, tf.constant(X)), 0.25)


def test_second_derivative_norm_in_closed_form():
  # f = xi x^3, f'' = 6 xi x.
  generator = lambda x, xi: xi[:, 0] * x[:, 0] ** 3
  noise = np.random.default_rng(0).normal(size=(len(X), 3, 1))
  expected = np.mean(np.abs(6.0 * noise[..., 0] * X))
  actual = metrics.second_derivative_norm(generator, tf.constant(X), tf.constant(noise))
  np.testing.assert_allclose(actual, expected, rtol=1e-12)


@pytest.mark.parametrize('noise_dim', [0, 4])
def test_second_derivative_of_a_network_matches_finite_differences(noise_dim):
  network = supervised.MLPGenerator(1, noise_dim, (8, 8), dtype=tf.float64)
  noise = tf.constant(np.random.default_rng(0).normal(size=(len(X), 1, noise_dim)))
  step = 1e-4
  f = lambda x: network(tf.constant(x), noise[:, 0]).numpy()
  expected = np.mean(np.abs(f(X + step) - 2 * f(X) + f(X - step))) / step**2
  actual = metrics.second_derivative_norm(network, tf.constant(X), noise)
  np.testing.assert_allclose(actual, expected, rtol=1e-4)
