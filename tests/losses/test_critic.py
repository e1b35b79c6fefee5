"""Squared errors of Sobolev regressions."""

import numpy as np
import pytest
import tensorflow as tf

from acme_dsdpg.losses import critic
from tests.oracles import sobolev as oracle


def _sets(batch=3, samples=4, size=3, seed=0):
  rng = np.random.default_rng(seed)
  return [tf.constant(rng.normal(size=(batch, samples, size))) for _ in range(2)]


@pytest.mark.parametrize('gradient_weight', [0.0, 0.3, 1.0])
def test_every_row_equals_the_oracle(gradient_weight):
  x, y = _sets()
  error = critic.sobolev_squared_error(x, y, gradient_weight)
  expected = [
    oracle.squared_error(a, b, gradient_weight) for a, b in zip(x.numpy(), y.numpy())
  ]
  np.testing.assert_allclose(error, expected, rtol=1e-12)


def test_hand_computed():
  x, y = tf.constant([[[1.0, 2.0, 3.0]]]), tf.constant([[[0.0, 4.0, 2.0]]])
  # 1^2 + 0.5 (2^2 + 1^2) = 3.5
  np.testing.assert_array_equal(critic.sobolev_squared_error(x, y, 0.5), [3.5])


def test_without_gradients_it_is_the_squared_td_error_exactly():
  x, y = _sets(samples=1, size=1)
  error = critic.sobolev_squared_error(x, y, 5.0)
  np.testing.assert_array_equal(error, (x - y)[:, 0, 0] ** 2)


def test_weight_zero_is_the_error_of_the_return_exactly():
  x, y = _sets()
  error = critic.sobolev_squared_error(x, y, 0.0)
  np.testing.assert_array_equal(
    error, critic.sobolev_squared_error(x[..., :1], y[..., :1])
  )


def test_eager_equals_compiled():
  x, y = _sets()
  compiled = tf.function(critic.sobolev_squared_error, jit_compile=True)
  np.testing.assert_allclose(
    compiled(x, y, 0.3), critic.sobolev_squared_error(x, y, 0.3), rtol=1e-12
  )
