"""Sobolev returns of linear critics against the oracle and closed forms."""

import numpy as np
import pytest
import tensorflow as tf

from acme_dsdpg.losses import directional, kernels, mmd
from tests.losses import problems
from tests.losses.problems import A, B, ClosedForm, Inputs, M, S
from tests.oracles import directional as oracle
from tests.oracles import kernels as oracle_kernels
from tests.oracles import mmd as oracle_mmd

D, K = 2, 3
SIZES = {'action': A, 'state_action': S + A}


class LinearCritic:
  """The oracle's critic in TensorFlow."""

  def __init__(self, num_features=K, seed=3):
    self.num_features = num_features
    self.oracle = oracle.Critic(np.random.default_rng(seed), S, A, num_features)
    self.c = tf.Variable(self.oracle.c)

  def coefficients(self, s, a):
    p = self.oracle
    hidden = tf.tanh(tf.matmul(s, p.u.T) + tf.matmul(a, p.v.T) + p.b)
    return tf.matmul(hidden, self.c, transpose_b=True)


def _directions(wrt, seed=0):
  rng = np.random.default_rng(seed)
  return problems.constant(rng.normal(size=(B, D, SIZES[wrt])))


def _rows(seed=0, num=2, size=1 + D):
  """Coefficients of two critics, [B, size, 1 + K]."""
  rng = np.random.default_rng(seed)
  return [tf.constant(rng.normal(size=(B, size, 1 + K))) for _ in range(num)]


# Directions.


@pytest.mark.parametrize('num_directions', [1, 3])
def test_directions_are_on_a_sphere_and_together_as_long_as_any_gradient(num_directions):
  u = directional.random_directions([1, 2], 20_000, num_directions, 4, tf.float64)
  assert u.shape == (20_000, num_directions, 4)
  radius = np.sqrt(4 / num_directions)
  np.testing.assert_allclose(tf.norm(u, axis=-1), np.full(u.shape[:2], radius))
  # E sum_d u_d u_d^T = I.
  products = np.einsum('bdx,bdy->bxy', u, u)
  error = np.abs(products.mean(0) - np.eye(4))
  assert np.all(error < 4.5 * products.std(0) / np.sqrt(len(products)) + 1e-12)
  assert np.all(np.abs(u.numpy().mean((0, 1))) < 0.05)


def test_of_one_input_it_is_its_sign():
  u = directional.random_directions([1, 2], 50, 1, 1, tf.float64).numpy()
  assert set(u.flat) == {-1.0, 1.0}


# The target.


@pytest.mark.parametrize(
  ('num_features', 'wrt', 'is_directional'),
  [
    (K, 'none', False),
    *((k, wrt, True) for k in (0, K) for wrt in SIZES),
    # More coefficients than inputs, and fewer.
    (K, 'action', False), (K, 'state_action', False), (0, 'action', False),
  ],
)  # fmt: skip
def test_target_equals_the_oracle(wrt, is_directional, num_features):
  problem, inputs = problems.shared(ClosedForm), Inputs()
  critic = LinearCritic(num_features)
  directions = _directions(wrt) if is_directional else None
  with tf.GradientTape() as tape:
    actual = directional.target_coefficients(
      problem.model(inputs.eps), problem.policy, critic, inputs.observation,
      inputs.action, inputs.discount, directions, wrt,
    )  # fmt: skip
  names = ('observation', 'action', 'eps', 'discount')
  expected = [
    oracle.target(
      problem.oracle_model, problem.oracle_policy, critic.oracle,
      *(getattr(inputs, name)[b].numpy() for name in names),
      directions[b].numpy() if is_directional else None, wrt,
    )
    for b in range(B)
  ]  # fmt: skip
  np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-12)
  assert tape.gradient(actual, critic.c) is None  # A constant.


# The loss.


def test_samples_are_products_with_the_features():
  (h,) = _rows(num=1)
  phi = np.random.default_rng(1).normal(size=(M, 1 + K))
  expected = [oracle.samples(row, phi) for row in h.numpy()]
  actual = directional.samples(h, tf.constant(phi))
  np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-12)


def test_squared_error_is_of_the_means_and_weighs_the_gradients():
  x, y = _rows()
  w = np.array([0.0, 0.4, 1.0])
  expected = [
    sum(
      (1.0 if d == 0 else w[b]) * float(x[b, d, 0] - y[b, d, 0]) ** 2
      for d in range(1 + D)
    )
    for b in range(B)
  ]
  actual = directional.weighted_squared_error(x, y, tf.constant(w))
  np.testing.assert_allclose(actual, expected, rtol=1e-12)


def test_the_mmd_of_weighed_joint_samples_is_the_oracles():
  x, y = _rows()
  rng = np.random.default_rng(1)
  phi_x, phi_y = rng.normal(size=(2, M, 1 + K))
  w = np.array([0.0, 0.4, 1.0])
  h = 3.0
  expected = []
  for b in range(B):
    scales = [1.0] + [np.sqrt(w[b])] * D
    sets = (oracle.samples(x[b].numpy(), phi_x), oracle.samples(y[b].numpy(), phi_y))
    kernel = lambda u, v: oracle_kernels.multiquadric(u, v, h)
    scaled = oracle_kernels.scaled(kernel, scales)
    expected.append(oracle_mmd.mmd2(*sets, scaled))
  weighed = (
    directional.weigh_gradients(directional.samples(c, tf.constant(phi)), tf.constant(w))
    for c, phi in ((x, phi_x), (y, phi_y))
  )
  actual = mmd.mmd2(*weighed, kernels.Multiquadric(h))
  np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-12)


def test_with_weight_zero_a_transition_teaches_its_return_alone():
  x, y = _rows()
  rng = np.random.default_rng(1)
  phi_x, phi_y = (tf.constant(phi) for phi in rng.normal(size=(2, M, 1 + K)))
  w = tf.constant([0.0, 0.5, 0.0], tf.float64)

  def loss(x, y):
    weighed = (
      directional.weigh_gradients(directional.samples(c, phi), w)
      for c, phi in ((x, phi_x), (y, phi_y))
    )
    distance = mmd.mmd2(*weighed, kernels.Multiquadric(10.0)) / 10.0
    return directional.weighted_squared_error(x, y, w) + distance

  with tf.GradientTape() as tape:
    tape.watch(x)
    value = loss(x, y)
  gradient = tape.gradient(value, x).numpy()
  assert np.all(gradient[:, 0] != 0.0)
  for b in range(B):
    assert np.all(gradient[b, 1:] == 0.0) == (w[b] == 0.0)
  alone = directional.weighted_squared_error(x[:, :1], y[:, :1], w)
  samples = (directional.samples(c[:, :1], phi) for c, phi in ((x, phi_x), (y, phi_y)))
  alone += mmd.mmd2(*samples, kernels.Multiquadric(10.0)) / 10.0
  np.testing.assert_allclose(value.numpy()[[0, 2]], alone.numpy()[[0, 2]], rtol=1e-12)
