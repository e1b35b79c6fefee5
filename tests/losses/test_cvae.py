"""The cVAE's loss."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from acme_dsdpg.losses import cvae
from tests.losses import problems
from tests.losses.problems import Inputs
from tests.oracles import cvae as oracle

tfd = tfp.distributions

MEAN = np.array([[0.3, -1.0], [0.0, 2.0], [0.5, 0.1]])
STD = np.array([[0.5, 1.7], [1.0, 0.2], [1.1, 0.9]])
REWARD, NEXT_STATE = np.array([1.0, -2.0, 0.5]), np.array([[0.1], [0.7], [-3.0]])
SEED = tf.constant([3, 4])


def _gaussian(mean, std):
  return tfd.Independent(tfd.Normal(tf.constant(mean), tf.constant(std)), 1)


PRIOR = _gaussian(np.zeros(2), np.ones(2))


def _decode(latent):
  return latent[:, 0] * latent[:, 1], tf.tanh(latent[:, :1])


def _loss(posterior, decode=_decode, kl_weight=0.1):
  return cvae.cvae_loss(
    posterior,
    PRIOR,
    decode,
    tf.constant(REWARD),
    tf.constant(NEXT_STATE),
    kl_weight,
    SEED,
  )


def test_loss_equals_the_oracle():
  losses = _loss(_gaussian(MEAN, STD))
  latent = _gaussian(MEAN, STD).sample(seed=SEED).numpy()
  reward, state = latent[:, 0] * latent[:, 1], np.tanh(latent[:, :1])
  expected = oracle.loss(REWARD, NEXT_STATE, reward, state, MEAN, STD, 0.1)
  np.testing.assert_allclose(losses.loss, expected, rtol=1e-12)
  np.testing.assert_allclose(
    losses.reconstruction,
    oracle.reconstruction(REWARD, NEXT_STATE, reward, state),
    rtol=1e-12,
  )


def test_kl_is_the_gaussian_closed_form_and_positive():
  expected = np.mean([oracle.gaussian_kl(m, s) for m, s in zip(MEAN, STD)])
  np.testing.assert_allclose(_loss(_gaussian(MEAN, STD)).kl, expected, rtol=1e-12)
  assert expected > 0.0


def test_kl_is_zero_for_the_prior_itself():
  losses = _loss(_gaussian(np.zeros([3, 2]), np.ones([3, 2])))
  np.testing.assert_allclose(losses.kl, 0.0, atol=1e-12)


def test_loss_is_the_weighted_kl_where_the_decoder_is_exact():
  exact = lambda latent: (tf.constant(REWARD), tf.constant(NEXT_STATE))
  losses = _loss(_gaussian(MEAN, STD), exact, kl_weight=0.25)
  assert losses.reconstruction == 0.0
  np.testing.assert_allclose(losses.loss, 0.25 * losses.kl, rtol=1e-12)


def test_same_seed_same_latent():
  assert _loss(_gaussian(MEAN, STD)).loss == _loss(_gaussian(MEAN, STD)).loss


@pytest.fixture(scope='module')
def real_loss():
  networks, inputs = problems.RealNetworks(), Inputs()
  model = networks.world_model

  def loss():
    posterior = model.encode(
      inputs.observation, inputs.action, inputs.reward, inputs.next_observation
    )
    decode = lambda latent: model.decode(inputs.observation, inputs.action, latent)
    return cvae.cvae_loss(
      posterior, model.prior(), decode, inputs.reward, inputs.next_observation, 0.1, SEED
    ).loss

  return loss, model.trainable_variables


def test_weight_gradient_through_the_latent_is_the_finite_difference(real_loss):
  slope, numeric = problems.slope_and_difference(*real_loss)
  assert abs(slope) > 1e-3
  np.testing.assert_allclose(slope, numeric, rtol=1e-6)


def test_encoder_learns_from_the_reconstruction():
  mean = tf.Variable(MEAN)
  with tf.GradientTape() as tape:
    posterior = tfd.Independent(tfd.Normal(mean, tf.constant(STD)), 1)
    loss = _loss(posterior, kl_weight=0.0).loss
  assert np.all(tape.gradient(loss, mean).numpy() != 0.0)


def test_eager_equals_compiled(real_loss):
  loss, _ = real_loss
  # The latent's noise differs between the two: it is fixed by a delta posterior.
  narrow = _gaussian(MEAN, np.full_like(STD, 1e-12))
  function = lambda: tf.stack(_loss(narrow))
  compiled = tf.function(function, jit_compile=True)
  np.testing.assert_allclose(compiled(), function(), rtol=1e-9)


# World models with a mean.


def _variables(model, part):
  return getattr(model, f'_{part}').trainable_variables


@pytest.fixture(scope='module', params=['cvae', 'mean', 'residual_cvae'])
def world_model(request):
  return problems.RealNetworks(world_model=request.param).world_model


def _world_model_loss(model, reward=None, kl_weight=0.1):
  inputs = Inputs()
  return cvae.world_model_loss(
    model,
    inputs.observation,
    inputs.action,
    inputs.reward if reward is None else reward,
    inputs.next_observation,
    kl_weight,
    SEED,
  )


def _squared_error_of_f(model):
  inputs = Inputs()
  mean = model.mean(inputs.observation, inputs.action)
  predicted = inputs.observation + mean[:, 1:]
  error = tf.reduce_sum((inputs.next_observation - predicted) ** 2, axis=-1)
  return tf.reduce_mean(error + (inputs.reward - mean[:, 0]) ** 2)


def test_a_world_models_loss_equals_the_oracle(world_model):
  inputs, losses = Inputs(), _world_model_loss(world_model)
  arguments = (inputs.observation, inputs.action)
  posterior = world_model.encode(*arguments, inputs.reward, inputs.next_observation)
  predicted = world_model.decode(*arguments, posterior.sample(seed=SEED))
  outcome = (inputs.reward.numpy(), inputs.next_observation.numpy())
  predicted = [x.numpy() for x in predicted]
  error = oracle.reconstruction(*outcome, *predicted)
  np.testing.assert_allclose(losses.reconstruction, error, rtol=1e-12)
  expected, kl = 0.0, 0.0
  if world_model.latent_size:
    of = zip(posterior.mean().numpy(), posterior.stddev().numpy())
    kl = np.mean([oracle.gaussian_kl(*pair) for pair in of])
    expected = error + 0.1 * kl
  if world_model.mean(*arguments) is not None:
    expected += float(_squared_error_of_f(world_model))
  np.testing.assert_allclose(losses.kl, kl, rtol=1e-12, atol=1e-12)
  np.testing.assert_allclose(losses.loss, expected, rtol=1e-12)


@pytest.mark.parametrize('kind', ['mean', 'residual_cvae'])
def test_f_learns_by_its_squared_error_alone(kind):
  model = problems.RealNetworks(world_model=kind).world_model
  variables = _variables(model, 'mean')
  with tf.GradientTape(persistent=True) as tape:
    loss, error = _world_model_loss(model).loss, _squared_error_of_f(model)
  expected = tape.gradient(error, variables)
  for actual, gradient in zip(tape.gradient(loss, variables), expected, strict=True):
    np.testing.assert_allclose(actual, gradient, rtol=1e-9, atol=1e-12)
  slope, numeric = problems.slope_and_difference(
    lambda: _squared_error_of_f(model), variables
  )
  assert abs(slope) > 1e-3
  np.testing.assert_allclose(slope, numeric, rtol=1e-6)


def test_encoder_and_g_learn_what_f_leaves_over_and_f_is_a_constant_to_them():
  model = problems.RealNetworks(world_model='residual_cvae').world_model
  variables = [*_variables(model, 'encoder'), *_variables(model, 'decoder')]
  # Without a step of f: the finite difference of the whole loss.
  slope, numeric = problems.slope_and_difference(
    lambda: _world_model_loss(model).loss, variables
  )
  assert abs(slope) > 1e-3
  np.testing.assert_allclose(slope, numeric, rtol=1e-5)
  # Of f and the outcome they see the difference alone.
  moved = model.mean(Inputs().observation, Inputs().action)[:, 0]
  with tf.GradientTape() as tape:
    loss = _world_model_loss(model).loss
  before = tape.gradient(loss, variables)
  bias = _variables(model, 'mean')[-1]
  bias.assign_add([1.0, 0.0, 0.0, 0.0])
  with tf.GradientTape() as tape:
    loss = _world_model_loss(model, Inputs().reward + 1.0).loss
  for a, b in zip(before, tape.gradient(loss, variables)):
    np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
  assert np.all(model.mean(Inputs().observation, Inputs().action)[:, 0] != moved)


def test_a_mean_model_has_no_latent_to_reconstruct_with():
  losses = _world_model_loss(problems.RealNetworks(world_model='mean').world_model)
  assert losses.kl == 0.0
  np.testing.assert_allclose(losses.loss, losses.reconstruction, rtol=1e-12)
