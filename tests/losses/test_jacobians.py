"""Jacobians of row-wise functions, forward and backward."""

import numpy as np
import pytest
import tensorflow as tf

from acme_dsdpg.losses import jacobians


@pytest.mark.parametrize('output_size', [2, 4, 6])
def test_jacobian_is_exact(output_size):
  rng = np.random.default_rng(0)
  weights = tf.constant(rng.normal(size=(4, output_size)))
  x = tf.constant(rng.normal(size=(3, 4)))
  function = lambda x: tf.tanh(tf.matmul(x, weights))
  value, jacobian = jacobians.value_and_jacobian(function, x)
  np.testing.assert_allclose(value, function(x), rtol=1e-12)
  expected = (1.0 - value[:, tf.newaxis] ** 2) * weights
  np.testing.assert_allclose(jacobian, expected, rtol=1e-10)


@pytest.mark.parametrize('num_cotangents', [1, 5])
def test_cotangents_are_pulled_back_by_the_transposed_jacobian(num_cotangents):
  rng = np.random.default_rng(0)
  weights = tf.constant(rng.normal(size=(4, 6)))
  x = tf.constant(rng.normal(size=(3, 4)))
  cotangents = tf.constant(rng.normal(size=(3, num_cotangents, 6)))
  function = lambda x: tf.tanh(tf.matmul(x, weights))
  value, pull_back = jacobians.value_and_pull_back(function, x)
  np.testing.assert_allclose(value, function(x), rtol=1e-12)
  jacobian = jacobians.value_and_jacobian(function, x)[1]
  expected = np.einsum('bmy,bxy->bmx', cotangents, jacobian)
  np.testing.assert_allclose(pull_back(cotangents), expected, rtol=1e-10)


def test_jacobian_is_zero_where_the_function_ignores_its_argument():
  x = tf.ones([3, 2])
  value, jacobian = jacobians.value_and_jacobian(lambda x: tf.fill([3, 4], 7.0), x)
  np.testing.assert_array_equal(value, np.full([3, 4], 7.0))
  np.testing.assert_array_equal(jacobian, np.zeros([3, 2, 4]))


def test_nothing_is_pulled_back_where_the_function_ignores_its_argument():
  x = tf.ones([3, 2])
  _, pull_back = jacobians.value_and_pull_back(lambda x: tf.fill([3, 4], 7.0), x)
  np.testing.assert_array_equal(pull_back(tf.ones([3, 5, 4])), np.zeros([3, 5, 2]))


@pytest.mark.parametrize('output_size', [2, 6])
def test_tangents_and_gradients_are_the_jacobian_by_other_ways(output_size):
  rng = np.random.default_rng(0)
  weights = tf.constant(rng.normal(size=(4, output_size)))
  x, directions = tf.constant(rng.normal(size=(3, 4))), rng.normal(size=(3, 2, 4))
  function = lambda x: tf.tanh(tf.matmul(x, weights))
  value = function(x)
  jacobian = (1.0 - value[:, tf.newaxis] ** 2) * weights
  actual, tangents = jacobians.value_and_tangents(function, x, tf.constant(directions))
  np.testing.assert_allclose(actual, value, rtol=1e-12)
  np.testing.assert_allclose(tangents, directions @ jacobian, rtol=1e-9)
  actual, gradients = jacobians.value_and_gradients(function, x, output_size)
  np.testing.assert_allclose(actual, value, rtol=1e-12)
  np.testing.assert_allclose(gradients, jacobian, rtol=1e-9)


def test_tangents_and_gradients_are_zero_where_the_function_ignores_its_argument():
  x = tf.ones([3, 5])
  constant = lambda x: tf.fill([3, 4], 7.0)
  for derivatives in (
    jacobians.value_and_tangents(constant, x, tf.ones([3, 2, 5]))[1],
    jacobians.value_and_gradients(constant, x, 4)[1],
  ):
    assert derivatives.shape[-1] == 4
    np.testing.assert_array_equal(derivatives, np.zeros(derivatives.shape))
