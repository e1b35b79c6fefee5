"""The critic of features against nested tapes, finite differences and closed forms."""

import numpy as np
import pytest
import tensorflow as tf

from acme_dsdpg.losses import directional
from acme_dsdpg.networks import feature_critic
from tests.losses import problems
from tests.oracles import directional as oracle

B, M, S, A = 3, 4, 3, 2
# None; fewer coefficients than inputs; more.
NUM_FEATURES = [0, 2, S + A + 3]


def _predict(s, a):
  """A world model: reward and change of the state, [N, 1 + S]."""
  mix = tf.constant(np.random.default_rng(3).normal(size=(A, 1 + S)))
  return tf.sin(a @ mix) + 0.1 * tf.reduce_sum(s, axis=-1, keepdims=True) ** 2


def _critic(num_features, seed=0, predict=None):
  critic = feature_critic.FeatureCritic(
    (S, A), num_features, (8, 8), True, seed, predict, dtype=tf.float64
  )
  rng = np.random.default_rng(seed)
  for variable in critic.trainable_variables:
    variable.assign_add(0.4 * rng.normal(size=variable.shape))
  return critic


def _inputs():
  rng = np.random.default_rng(1)
  return tf.constant(rng.normal(size=(B, S))), tf.constant(rng.normal(size=(B, A)))


def _of_whole_input(critic, s, a, predict=None):
  """h by the MLP of [s ; a], or of [s ; a ; reward ; s + change]."""
  columns = [s, a]
  if predict:
    outcome = predict(s, a)
    columns += [outcome[:, :1], s + outcome[:, 1:]]
  return critic._mlp(tf.concat(columns, axis=-1))


def _nested(critic, s, a, predict=None):
  """h and dh/d[s ; a] by a tape for each coefficient: [B, 1 + K], [B, S + A, 1 + K]."""
  with tf.GradientTape(persistent=True) as tape:
    tape.watch([s, a])
    h = _of_whole_input(critic, s, a, predict)
    columns = tf.unstack(h, axis=-1)
  gradients = [tf.concat(tape.gradient(column, [s, a]), axis=-1) for column in columns]
  return h, tf.stack(gradients, axis=-1)


# Features.


@pytest.mark.parametrize('num_features', [0, 5])
def test_features_are_the_oracles_one_in_each_stratum(num_features):
  phi = feature_critic.draw_features([3, 4], 8, num_features, tf.float64).numpy()
  assert phi.shape == (8, 1 + num_features)
  if not num_features:
    np.testing.assert_array_equal(phi, np.ones([8, 1]))
    return
  tau = np.arccos(phi[:, 1] / np.sqrt(2.0)) / np.pi
  np.testing.assert_array_equal(np.floor(8 * tau), np.arange(8))
  expected = [oracle.features(t, num_features) for t in tau]
  np.testing.assert_allclose(phi, expected, rtol=1e-9, atol=1e-9)


def test_features_have_mean_0_variance_1_over_k_squared_and_are_not_correlated():
  # Closed forms, by the mid-points of a fine grid.
  grid = np.array([oracle.features(t, 4) for t in (np.arange(2000) + 0.5) / 2000])
  exact = grid.T @ grid / len(grid)
  np.testing.assert_allclose(exact, np.diag([1.0, 1, 1 / 4, 1 / 9, 1 / 16]), atol=1e-9)
  draw = tf.function(lambda i: feature_critic.draw_features([i, 0], 4, 4, tf.float64))
  draws = np.stack([draw(tf.constant(i)) for i in range(500)])
  moments = np.einsum('nmj,nmk->njk', draws, draws) / 4  # Of each set.
  error = 4.5 * moments.std(0) / np.sqrt(len(moments)) + 1e-12
  assert np.all(np.abs(moments.mean(0) - exact) < error)
  # Strata leave a set's mean less room than 4 independent draws, of variance 1 / 4.
  assert draws[..., 1].mean(1).var() < 0.2 / 4


# What it sees.


@pytest.mark.parametrize('predict', [None, _predict])
def test_it_is_the_mlp_of_state_action_and_what_is_predicted_of_them(predict):
  critic, (s, a) = _critic(2, predict=predict), _inputs()
  expected = _of_whole_input(critic, s, a, predict)
  np.testing.assert_allclose(critic.coefficients(s, a), expected, rtol=1e-10)
  assert critic._mlp.trainable_variables == critic.trainable_variables


# Samples.


@pytest.mark.parametrize('num_features', NUM_FEATURES)
def test_samples_are_products_and_their_mean_is_the_first_coefficient(num_features):
  critic, (s, a) = _critic(num_features), _inputs()
  phi = critic.draw_noise([1, 2], B, M)
  h = critic.coefficients(s, a)
  assert h.shape == (B, 1 + num_features)
  expected = np.einsum('mk,bk->bm', phi, h)
  np.testing.assert_allclose(critic.samples(s, a, phi), expected, rtol=1e-12)
  tau = (np.arange(2000) + 0.5) / 2000
  every = tf.constant([oracle.features(t, num_features) for t in tau], tf.float64)
  mean = tf.reduce_mean(critic.samples(s, a, every), axis=1)
  np.testing.assert_allclose(mean, h[:, 0], rtol=1e-9, atol=1e-9)


def test_there_is_almost_no_spread_at_the_start():
  critic = feature_critic.FeatureCritic((S, A), 4, (32, 32), True, seed=0)
  rng = np.random.default_rng(0)
  normal = lambda *shape: tf.constant(rng.normal(size=shape), tf.float32)
  h = critic(normal(200, S), normal(200, A)).numpy()
  assert 0.0 < np.std(h[:, 1:]) < 0.03 * np.std(h[:, 0])


@pytest.mark.parametrize('num_features', NUM_FEATURES)
@pytest.mark.parametrize('predict', [None, _predict])
def test_samples_and_gradients_equal_nested_tapes(num_features, predict):
  critic, (s, a) = _critic(num_features, predict=predict), _inputs()
  phi = critic.draw_noise([1, 2], B, M)
  z, dz_ds, dz_da = critic.samples_and_gradients(s, a, phi)
  h, dh = _nested(critic, s, a, predict)
  gradients = np.einsum('mk,bxk->bmx', phi, dh)
  np.testing.assert_allclose(z, np.einsum('mk,bk->bm', phi, h), rtol=1e-9, atol=1e-9)
  np.testing.assert_allclose(dz_ds, gradients[..., :S], rtol=1e-9, atol=1e-9)
  np.testing.assert_allclose(dz_da, gradients[..., S:], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
  ('num_features', 'wrt', 'num_directions'),
  [
    *((k, wrt, 2) for k in NUM_FEATURES for wrt in ('action', 'state_action')),
    (0, 'action', 0), (0, 'state_action', 0), (2, 'state_action', 0), (8, 'action', 0),
  ],
)  # fmt: skip
@pytest.mark.parametrize('predict', [None, _predict])
def test_sobolev_coefficients_equal_nested_tapes(
  num_features, wrt, num_directions, predict
):
  critic, (s, a) = _critic(num_features, predict=predict), _inputs()
  directions = None
  if num_directions:
    size = A if wrt == 'action' else S + A
    shape = (B, num_directions, size)
    directions = tf.constant(np.random.default_rng(2).normal(size=shape))
  actual = directional.sobolev_coefficients(critic, s, a, directions, wrt)
  h, dh = _nested(critic, s, a, predict)
  dh = dh[:, S:] if wrt == 'action' else dh
  if num_directions:
    dh = tf.einsum('bdx,bxk->bdk', directions, dh)
  expected = tf.concat([h[:, tf.newaxis], dh], axis=1)
  np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
  ('way', 'num_features'),
  [('samples', 2), ('samples', 8), ('whole', 0), ('directions', 0), ('directions', 8)],
)
@pytest.mark.parametrize('predict', [None, _predict])
def test_the_weights_gradient_through_derivatives_is_the_finite_difference(
  way, num_features, predict
):
  critic, (s, a) = _critic(num_features, predict=predict), _inputs()
  phi = critic.draw_noise([1, 2], B, M)
  directions = directional.random_directions([5, 6], B, 2, A, tf.float64)

  @tf.function(autograph=False)  # Traced once, not three times.
  def loss():
    if way == 'samples':
      gradient = critic.samples_and_gradients(s, a, phi)[2]
    else:
      along = directions if way == 'directions' else None
      gradient = directional.sobolev_coefficients(critic, s, a, along, 'action')[:, 1:]
    return tf.reduce_mean(tf.sin(gradient) ** 2)

  slope, numeric = problems.slope_and_difference(loss, critic.trainable_variables[:-1])
  assert abs(slope) > 1e-3
  np.testing.assert_allclose(slope, numeric, rtol=1e-5)
