"""MMD against the oracle and against closed forms."""

import numpy as np
import pytest
import tensorflow as tf

from acme_dsdpg.losses import kernels, mmd
from tests.oracles import kernels as oracle_kernels
from tests.oracles import mmd as oracle

KERNELS = {
  'multiquadric': (
    kernels.Multiquadric(),
    lambda x, y: oracle_kernels.multiquadric(x, y, 100.0),
  ),
  'rbf': (
    kernels.RBF((0.5, 1.0)),
    lambda x, y: oracle_kernels.rbf(x, y, (0.5, 1.0)),
  ),
  'rational quadratic': (
    kernels.RationalQuadratic(),
    lambda x, y: oracle_kernels.rational_quadratic(x, y, 1.0),
  ),
}


def _sets(batch=2, m=4, n=3, size=3, seed=0):
  rng = np.random.default_rng(seed)
  x = rng.normal(size=(batch, m, size))
  return x, 1.5 * rng.normal(size=(batch, n, size)) + 0.3


def _mmd2(x, y, kernel, unbiased=False):
  return mmd.mmd2(tf.constant(x), tf.constant(y), kernel, unbiased).numpy()


@pytest.mark.parametrize('unbiased', [False, True])
@pytest.mark.parametrize('name', KERNELS)
def test_every_row_equals_the_oracle(name, unbiased):
  kernel, oracle_kernel = KERNELS[name]
  x, y = _sets()
  expected = [oracle.mmd2(a, b, oracle_kernel, unbiased) for a, b in zip(x, y)]
  np.testing.assert_allclose(_mmd2(x, y, kernel, unbiased), expected, rtol=1e-10)


@pytest.mark.parametrize('unbiased', [False, True])
def test_eager_equals_compiled(unbiased):
  x, y = (tf.constant(s, tf.float32) for s in _sets())
  function = lambda x, y: mmd.mmd2(x, y, kernels.Multiquadric(), unbiased)
  compiled = tf.function(function, jit_compile=True)
  np.testing.assert_allclose(compiled(x, y), function(x, y), rtol=1e-4)


@pytest.mark.parametrize('name', KERNELS)
def test_a_set_is_at_distance_zero_from_itself_and_no_other(name):
  x, y = _sets(n=4)
  kernel = KERNELS[name][0]
  np.testing.assert_allclose(_mmd2(x, x, kernel), 0.0, atol=1e-10)
  assert np.all(_mmd2(x, y, kernel) > 1e-3)


@pytest.mark.parametrize('unbiased', [False, True])
def test_order_does_not_matter(unbiased):
  x, y = _sets()
  kernel = kernels.Multiquadric()
  value = _mmd2(x, y, kernel, unbiased)
  shuffled = _mmd2(x[:, [2, 0, 3, 1]], y[:, [1, 2, 0]], kernel, unbiased)
  np.testing.assert_allclose(shuffled, value, rtol=1e-12)
  np.testing.assert_allclose(_mmd2(y, x, kernel, unbiased), value, rtol=1e-12)


def test_single_samples_give_twice_the_kernel_drop():
  kernel = kernels.Multiquadric(2.0)
  x, y = np.array([[[1.0, 2.0]]]), np.array([[[1.0, 3.5]]])
  # 2 k(0) - 2 k(d) = -2 + 2 sqrt(1 + 4 * 2.25) = 2 (sqrt(10) - 1)
  np.testing.assert_allclose(_mmd2(x, y, kernel), [2.0 * (np.sqrt(10.0) - 1.0)])


def test_leading_axes_are_kept():
  x, y = _sets(batch=6)
  kernel = kernels.RBF((1.0,))
  split = _mmd2(x.reshape(2, 3, 4, 3), y.reshape(2, 3, 3, 3), kernel)
  np.testing.assert_allclose(split, _mmd2(x, y, kernel).reshape(2, 3))
  np.testing.assert_allclose(_mmd2(x[0], y[0], kernel), _mmd2(x, y, kernel)[0])


@pytest.mark.parametrize('unbiased', [False, True])
def test_between_gaussians_the_estimators_mean_is_the_closed_form(unbiased):
  means, stds, bandwidth, m, n = ([0.0, 0.0], [0.6, -0.4]), (1.0, 0.7), 1.2, 3, 5
  rng = np.random.default_rng(0)
  x = means[0] + stds[0] * rng.normal(size=(40_000, m, 2))
  y = means[1] + stds[1] * rng.normal(size=(40_000, n, 2))
  values = _mmd2(x, y, kernels.RBF((bandwidth,)), unbiased)
  expected = oracle.gaussian_rbf_mmd2(means[0], stds[0], means[1], stds[1], bandwidth)
  if not unbiased:  # A share 1/M of a self term's pairs is k(x, x) = 1.
    for std, count in zip(stds, (m, n)):
      off_diagonal = oracle.expected_rbf([0.0, 0.0], 2.0 * std**2, bandwidth)
      expected += (1.0 - off_diagonal) / count
  standard_error = values.std() / np.sqrt(len(values))
  assert standard_error < 0.002
  assert abs(values.mean() - expected) < 4.0 * standard_error


def test_large_samples_of_gaussians_approach_the_closed_form():
  means, stds, bandwidth = ([0.0, 0.0], [0.6, -0.4]), (1.0, 0.7), 1.2
  rng = np.random.default_rng(1)
  x = means[0] + stds[0] * rng.normal(size=(2_000, 2))
  y = means[1] + stds[1] * rng.normal(size=(2_000, 2))
  expected = oracle.gaussian_rbf_mmd2(means[0], stds[0], means[1], stds[1], bandwidth)
  np.testing.assert_allclose(_mmd2(x, y, kernels.RBF((bandwidth,))), expected, atol=0.01)
  assert expected > 0.1


@pytest.mark.parametrize('name', KERNELS)
def test_gradient_in_both_sets_is_the_finite_difference(name):
  kernel = KERNELS[name][0]
  x, y = (tf.constant(s) for s in _sets())
  rng = np.random.default_rng(1)
  u, v = (tf.constant(rng.normal(size=s.shape)) for s in (x, y))
  with tf.GradientTape() as tape:
    tape.watch([x, y])
    value = tf.reduce_sum(mmd.mmd2(x, y, kernel))
  dx, dy = tape.gradient(value, [x, y])
  step = 1e-6
  moved = [tf.reduce_sum(mmd.mmd2(x + h * u, y + h * v, kernel)) for h in (step, -step)]
  numeric = (moved[0] - moved[1]) / (2.0 * step)
  slope = tf.reduce_sum(dx * u) + tf.reduce_sum(dy * v)
  np.testing.assert_allclose(slope, numeric, rtol=1e-6)


def test_coinciding_samples_have_a_finite_gradient():
  x = tf.zeros([2, 3, 2])
  with tf.GradientTape() as tape:
    tape.watch(x)
    value = mmd.mmd2(x, tf.zeros([2, 3, 2]), kernels.Multiquadric())
  np.testing.assert_array_equal(tape.gradient(value, x), np.zeros([2, 3, 2]))


def test_unbiased_refuses_fewer_than_two_samples():
  x, y = _sets(m=1)
  with pytest.raises(ValueError, match='needs 2 samples of each, not 1 and 3'):
    _mmd2(x, y, kernels.RBF((1.0,)), unbiased=True)
  with pytest.raises(ValueError, match='needs 2 samples of each, not 3 and 1'):
    _mmd2(y, x, kernels.RBF((1.0,)), unbiased=True)


def test_refuses_samples_of_different_sizes():
  x, y = _sets()
  with pytest.raises(ValueError, match='x and y differ in their last axis'):
    _mmd2(x, y[..., :2], kernels.RBF((1.0,)))
