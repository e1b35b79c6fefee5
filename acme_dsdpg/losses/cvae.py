"""The losses of world models."""

from typing import Callable, NamedTuple, Optional, Protocol, Tuple

import tensorflow as tf
import tensorflow_probability as tfp

tfd = tfp.distributions


class WorldModelLoss(NamedTuple):
  """Scalars, means over the batch."""

  loss: tf.Tensor
  reconstruction: tf.Tensor
  kl: tf.Tensor


def cvae_loss(
  posterior: tfd.Distribution,
  prior: tfd.Distribution,
  decode: Callable[[tf.Tensor], Tuple[tf.Tensor, tf.Tensor]],
  reward: tf.Tensor,
  next_observation: tf.Tensor,
  kl_weight: float,
  seed: tf.Tensor,
) -> WorldModelLoss:
  """Computes the negative ELBO of a beta-VAE, decoder variance fixed (Eq. 30).

      loss = mean_b( sum_j (s+_bj - s^_bj)^2 + (R_b - R^_b)^2 )
             + kl_weight * mean_b KL(q_b || prior)
      KL(N(mu, sigma^2) || N(0, I)) = 1/2 sum_j (mu^2 + sigma^2 - 1 - log sigma^2)

  (Eq. 31 prints the negative of the KL: a slip.)

  Args:
    posterior: q(eps | s+, R; s, a), batch [B], event [L].
    prior: over the latent, event [L].
    decode: latent [B, L] -> (reward [B], next observation [B, S]), the means.
    reward: [B] float.
    next_observation: [B, S] float.
    kl_weight: beta.
    seed: stateless seed, int [2], of the one latent sample a transition.
  """
  r, s = decode(posterior.sample(seed=seed))
  error = tf.reduce_sum(tf.math.squared_difference(next_observation, s), axis=-1)
  reconstruction = tf.reduce_mean(error + tf.math.squared_difference(reward, r))
  kl = tf.reduce_mean(tfd.kl_divergence(posterior, prior))
  return WorldModelLoss(reconstruction + kl_weight * kl, reconstruction, kl)


class WorldModel(Protocol):
  """A world model, as `networks.WorldModel`."""

  latent_size: int

  def mean(self, observation: tf.Tensor, action: tf.Tensor) -> Optional[tf.Tensor]:
    """Returns f(s, a), [B, 1 + S], or None."""

  def encode(self, observation, action, reward, next_observation, mean=None):
    """Returns the posterior of the latent."""

  def decode(self, observation, action, latent, mean=None):
    """Returns the predicted reward [B] and next observation [B, S]."""

  def prior(self):
    """Returns the prior of the latent."""


def world_model_loss(
  model: WorldModel,
  observation: tf.Tensor,
  action: tf.Tensor,
  reward: tf.Tensor,
  next_observation: tf.Tensor,
  kl_weight: float,
  seed: tf.Tensor,
) -> WorldModelLoss:
  """Computes the squared error of f, where there is one, plus `cvae_loss`.

  f learns by its squared error alone: encoder and decoder see it as a constant.

  Args:
    model: the world model.
    observation: [B, S] float.
    action: [B, A] float.
    reward: [B] float.
    next_observation: [B, S] float.
    kl_weight: as in `cvae_loss`.
    seed: as there.
  """
  mean = model.mean(observation, action)
  fixed = None if mean is None else tf.stop_gradient(mean)
  losses = cvae_loss(
    model.encode(observation, action, reward, next_observation, fixed),
    model.prior(),
    lambda latent: model.decode(observation, action, latent, fixed),
    reward,
    next_observation,
    kl_weight,
    seed,
  )
  if mean is None:
    return losses
  outcome = tf.concat([reward[:, tf.newaxis], next_observation - observation], axis=-1)
  squared = tf.reduce_sum(tf.math.squared_difference(outcome, mean), axis=-1)
  regression = tf.reduce_mean(squared)
  # Without a latent the reconstruction is f's own.
  loss = regression + losses.loss if model.latent_size else regression
  return losses._replace(loss=loss)
