"""Kernels against the oracle."""

import numpy as np
import pytest
import tensorflow as tf

from acme_dsdpg.losses import kernels
from tests.oracles import kernels as oracle

MIXTURE = (0.01, 0.05, 0.1, 0.5, 1.0, 10.0, 100.0)
PAIRS = {
  'multiquadric': (kernels.Multiquadric(), lambda x, y: oracle.multiquadric(x, y, 100.0)),
  'multiquadric h=2': (
    kernels.Multiquadric(2.0),
    lambda x, y: oracle.multiquadric(x, y, 2.0),
  ),
  'rbf': (kernels.RBF((0.7,)), lambda x, y: oracle.rbf(x, y, (0.7,))),
  'mixture of rbfs': (kernels.RBF(MIXTURE), lambda x, y: oracle.rbf(x, y, MIXTURE)),
  'rational quadratic': (
    kernels.RationalQuadratic(),
    lambda x, y: oracle.rational_quadratic(x, y, 1.0),
  ),
  'rational quadratic alpha=2.5': (
    kernels.RationalQuadratic(2.5),
    lambda x, y: oracle.rational_quadratic(x, y, 2.5),
  ),
}


def _samples(count, seed=0, size=3):
  return np.random.default_rng(seed).normal(size=(count, size))


def _gram(kernel, x, y):
  return kernel(tf.constant(x)[:, tf.newaxis], tf.constant(y)[tf.newaxis]).numpy()


@pytest.mark.parametrize('name', PAIRS)
def test_every_pair_equals_the_oracle(name):
  kernel, expected = PAIRS[name]
  x, y = _samples(4), _samples(5, seed=1)
  loops = [[expected(a, b) for b in y] for a in x]
  np.testing.assert_allclose(_gram(kernel, x, y), loops, rtol=1e-12)


@pytest.mark.parametrize('size', [1, 32, 33])  # Coordinates summed in two ways.
def test_any_number_of_coordinates(size):
  x, y = _samples(4, size=size), _samples(5, seed=1, size=size)
  loops = [[oracle.multiquadric(a, b, 3.0) for b in y] for a in x]
  np.testing.assert_allclose(_gram(kernels.Multiquadric(3.0), x, y), loops, rtol=1e-12)


@pytest.mark.parametrize('name', PAIRS)
def test_dtype_is_kept(name):
  x = tf.constant(_samples(4), tf.float32)
  assert PAIRS[name][0](x, x).dtype == tf.float32


@pytest.mark.parametrize('name', PAIRS)
def test_gradient_is_finite_at_distance_zero(name):
  x = tf.constant(_samples(4), tf.float32)
  with tf.GradientTape() as tape:
    tape.watch(x)
    value = PAIRS[name][0](x, tf.stop_gradient(x))
  assert np.all(np.isfinite(tape.gradient(value, x)))


@pytest.mark.parametrize(
  'kernel',
  [kernels.RBF((0.7,)), kernels.RBF(MIXTURE), kernels.RationalQuadratic(2.0)],
  ids=repr,
)
def test_gram_matrix_is_positive_definite(kernel):
  x = _samples(8)
  assert np.linalg.eigvalsh(_gram(kernel, x, x)).min() > 0.0


@pytest.mark.parametrize('h', [1.0, 100.0])
def test_multiquadric_is_only_conditionally_positive_definite(h):
  x = _samples(8)
  gram = _gram(kernels.Multiquadric(h), x, x)
  centre = np.eye(8) - 1.0 / 8  # Weights that sum to zero.
  assert np.linalg.eigvalsh(gram).min() < 0.0
  assert np.linalg.eigvalsh(centre @ gram @ centre)[1:].min() > 0.0


def test_multiquadric_stays_accurate_in_float32_where_the_gram_identity_does_not():
  x = (300.0 + 1e-3 * _samples(6)).astype(np.float32)
  y = (300.0 + 1e-3 * _samples(6, seed=1)).astype(np.float32)
  exact = [[oracle.multiquadric(a, b, 100.0) for b in y] for a in x]
  np.testing.assert_allclose(_gram(kernels.Multiquadric(100.0), x, y), exact, rtol=1e-5)
  squares = np.sum(x**2, -1)[:, None] + np.sum(y**2, -1)[None] - 2.0 * x @ y.T
  identity = -np.sqrt(np.maximum(1.0 + 100.0**2 * squares, 0.0))
  assert not np.allclose(identity, exact, rtol=1.0)


@pytest.mark.parametrize(
  'make', [kernels.Multiquadric, kernels.RationalQuadratic, lambda x: kernels.RBF((x,))]
)
@pytest.mark.parametrize('value', [0.0, -1.0, float('nan')])
def test_a_kernel_without_a_scale_is_refused(make, value):
  with pytest.raises(ValueError, match='is not valid: .*greater than 0'):
    make(value)


def test_kernels_of_equal_parameters_are_equal_and_frozen():
  assert kernels.RBF((1.0,)) == kernels.RBF((1.0,)) != kernels.RBF((2.0,))
  with pytest.raises(AttributeError):
    kernels.Multiquadric().h = 2.0
