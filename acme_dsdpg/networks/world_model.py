"""The conditional variational autoencoder of transitions (A.4, A.5)."""

from typing import Sequence, Tuple

import tensorflow as tf
import tensorflow_probability as tfp

from acme_dsdpg.networks import layers
from acme_dsdpg.networks.policy import Normalizer

tfd = tfp.distributions

_MIN_SCALE = 1e-3


class WorldModel(tf.keras.Model):
  """cVAE of (R, s+) given (s, a), differentiable in s and a.

  The latent has S + 1 dimensions. The decoder predicts the change of the state.
  Given N-step transitions it models N steps at once; given first steps, one.
  """

  def __init__(
    self,
    observation_size: int,
    hidden_sizes: Sequence[int],
    seed: int,
    normalize_outcomes: bool = False,
    **kwargs,
  ):
    """Initializes the model.

    Args:
      observation_size: S.
      hidden_sizes: of encoder and decoder.
      seed: of the initial weights.
      normalize_outcomes: encoder and decoder see the reward and the change of the state
        standardised. A reward that hardly varies is then predicted with a derivative as
        small, instead of one as large as the errors in a state of deviation 1.
      **kwargs: of `tf.keras.Model`.
    """
    super().__init__(**kwargs)
    stream = layers.seeds(seed)
    self.latent_size = observation_size + 1
    self._normalizer = (
      Normalizer(self.latent_size, dtype=self.dtype, name='outcome_normalizer')
      if normalize_outcomes
      else None
    )
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
    """q_zeta(eps | s+, R; s, a), Eq. 29: a diagonal Gaussian, batch [N].

    Args:
      observation: [N, S].
      action: [N, A].
      reward: [N], of as many steps as lie between the observations.
      next_observation: [N, S].
    """
    outcome = [reward[:, tf.newaxis], next_observation]
    if self._normalizer is not None:
      outcome = [self._normalizer(_join(observation, reward, next_observation))]
    inputs = [observation, action, *outcome]
    mean, scale = tf.split(self._encoder(tf.concat(inputs, axis=-1)), 2, axis=-1)
    scale = tf.nn.softplus(scale) + _MIN_SCALE
    return tfd.Independent(tfd.Normal(mean, scale), reinterpreted_batch_ndims=1)

  def decode(
    self, observation: tf.Tensor, action: tf.Tensor, latent: tf.Tensor
  ) -> Tuple[tf.Tensor, tf.Tensor]:
    """The mean of p_psi(s+, R | eps; s, a): reward [N], next observation [N, S]."""
    output = self._decoder(tf.concat([observation, action, latent], axis=-1))
    if self._normalizer is not None:
      output = self._normalizer.invert(output)
    reward, change = self._split(output)
    return reward, observation + change

  # Rewards and changes of the state, standardised where that is asked for.

  def outcome(
    self, observation: tf.Tensor, reward: tf.Tensor, next_observation: tf.Tensor
  ) -> Tuple[tf.Tensor, tf.Tensor]:
    """What `predict_outcome` is to predict: reward [N], change of the state [N, S]."""
    outcome = _join(observation, reward, next_observation)
    return self._split(outcome if self._normalizer is None else self._normalizer(outcome))

  def predict_outcome(
    self, observation: tf.Tensor, action: tf.Tensor, latent: tf.Tensor
  ) -> Tuple[tf.Tensor, tf.Tensor]:
    """As `decode`, but of `outcome`."""
    return self._split(self._decoder(tf.concat([observation, action, latent], axis=-1)))

  def observe(
    self,
    observation: tf.Tensor,
    reward: tf.Tensor,
    next_observation: tf.Tensor,
    finite: tf.Tensor = True,
  ):
    """Takes a batch into the running statistics, unless it is not finite."""
    if self._normalizer is not None:
      self._normalizer.update(_join(observation, reward, next_observation), finite)

  def _split(self, output: tf.Tensor) -> Tuple[tf.Tensor, tf.Tensor]:
    # Not slices: their tangents would be pushed forward one after the other.
    reward, change = tf.split(output, [1, self.latent_size - 1], axis=-1)
    return tf.squeeze(reward, axis=-1), change

  def prior(self) -> tfd.Distribution:
    """N(0, I) over the latent."""
    zeros = tf.zeros([self.latent_size], self.compute_dtype)
    return tfd.Independent(tfd.Normal(zeros, zeros + 1.0), reinterpreted_batch_ndims=1)

  def call(self, observation, action, reward, next_observation):
    """Reconstruction from the posterior's mean; builds all the weights."""
    posterior = self.encode(observation, action, reward, next_observation)
    return self.decode(observation, action, posterior.mean())


def _join(observation, reward, next_observation) -> tf.Tensor:
  """[R ; s+ - s], [N, 1 + S]."""
  return tf.concat([reward[:, tf.newaxis], next_observation - observation], axis=-1)
