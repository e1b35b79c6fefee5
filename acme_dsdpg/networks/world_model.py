"""The conditional variational autoencoder of transitions (A.4, A.5)."""

from typing import Sequence, Tuple

import tensorflow as tf
import tensorflow_probability as tfp

from acme_dsdpg.networks import layers

tfd = tfp.distributions

_MIN_SCALE = 1e-3


class WorldModel(tf.keras.Model):
  """cVAE of (R, s+) given (s, a), differentiable in s and a.

  The latent has S + 1 dimensions. The decoder predicts the change of the state.
  Given N-step transitions it models N steps at once; given first steps, one.
  """

  def __init__(
    self, observation_size: int, hidden_sizes: Sequence[int], seed: int, **kwargs
  ):
    """Initializes the model.

    Args:
      observation_size: S.
      hidden_sizes: of encoder and decoder.
      seed: of the initial weights.
      **kwargs: of `tf.keras.Model`.
    """
    super().__init__(**kwargs)
    stream = layers.seeds(seed)
    self.latent_size = observation_size + 1
    make = lambda size, name: layers.MLP(
      hidden_sizes, size, next(stream), norm='after', dtype=self.dtype, name=name
    )
    self._encoder = make(2 * self.latent_size, 'encoder')
    self._decoder = make(self.latent_size, 'decoder')

  def encode(
    self,
    observation: tf.Tensor,
    action: tf.Tensor,
    reward: tf.Tensor,
    next_observation: tf.Tensor,
  ) -> tfd.Distribution:
    """Returns q_zeta(eps | s+, R; s, a), a diagonal Gaussian, batch [N] (Eq. 29).

    Args:
      observation: [N, S].
      action: [N, A].
      reward: [N], of as many steps as lie between the observations.
      next_observation: [N, S].
    """
    inputs = [observation, action, reward[:, tf.newaxis], next_observation]
    mean, scale = tf.split(self._encoder(tf.concat(inputs, axis=-1)), 2, axis=-1)
    scale = tf.nn.softplus(scale) + _MIN_SCALE
    return tfd.Independent(tfd.Normal(mean, scale), reinterpreted_batch_ndims=1)

  def decode(
    self, observation: tf.Tensor, action: tf.Tensor, latent: tf.Tensor
  ) -> Tuple[tf.Tensor, tf.Tensor]:
    """Returns the mean of p_psi(s+, R | eps; s, a): reward [N], s+ [N, S]."""
    output = self._decoder(tf.concat([observation, action, latent], axis=-1))
    # Not slices: their tangents would be pushed forward one after the other.
    reward, change = tf.split(output, [1, self.latent_size - 1], axis=-1)
    return tf.squeeze(reward, axis=-1), observation + change

  def prior(self) -> tfd.Distribution:
    """Returns N(0, I) over the latent."""
    zeros = tf.zeros([self.latent_size], self.compute_dtype)
    return tfd.Independent(tfd.Normal(zeros, zeros + 1.0), reinterpreted_batch_ndims=1)

  def call(self, observation, action, reward, next_observation):
    """Reconstructs from the posterior's mean; builds all the weights."""
    posterior = self.encode(observation, action, reward, next_observation)
    return self.decode(observation, action, posterior.mean())
