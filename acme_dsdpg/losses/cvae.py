"""The loss of the conditional variational autoencoder."""

from typing import Callable, NamedTuple, Tuple

import tensorflow as tf
import tensorflow_probability as tfp

tfd = tfp.distributions


class CVAELoss(NamedTuple):
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
) -> CVAELoss:
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
  return CVAELoss(reconstruction + kl_weight * kl, reconstruction, kl)
