"""The deterministic policy, and the normalizer of its observations."""

from typing import Sequence

from acme import specs
import numpy as np
import tensorflow as tf

from acme_dsdpg.networks import layers

# Standardised observations are kept within this many standard deviations.
MAX_DEVIATION = 10.0


class Normalizer(tf.keras.layers.Layer):
  """Standardises observations by their running mean and standard deviation.

  Its statistics are weights, so they travel with the policy's to actors,
  checkpoints and the SavedModel. Disabled, it is the identity.
  """

  def __init__(self, size: int, enabled: bool = True, **kwargs):
    super().__init__(trainable=False, **kwargs)
    self._enabled = enabled
    zeros = lambda name: self.add_weight(name, [size], initializer='zeros')
    self.count = self.add_weight('count', [], initializer='zeros')
    self.mean = zeros('mean')
    self.variance = self.add_weight('variance', [size], initializer='ones')

  def call(self, observation):
    """Standardises [..., S] and clips it."""
    if not self._enabled:
      return observation
    x = (observation - self.mean) * tf.math.rsqrt(self.variance + 1e-6)
    return tf.clip_by_value(x, -MAX_DEVIATION, MAX_DEVIATION)

  def update(self, observation: tf.Tensor, finite: tf.Tensor = True):
    """Merges the statistics of a batch, [B, S] (Chan et al., 1979).

    Args:
      observation: the batch.
      finite: bool scalar; nothing is changed where it is false.
    """
    if not self._enabled:
      return
    tf.cond(tf.convert_to_tensor(finite), lambda: self._merge(observation), lambda: None)

  def _merge(self, observation: tf.Tensor):
    batch = tf.cast(observation.shape[0], self.count.dtype)
    mean = tf.reduce_mean(observation, axis=0)
    variance = tf.math.reduce_variance(observation, axis=0)
    total = self.count + batch
    share = batch / total
    delta = mean - self.mean
    self.variance.assign(
      (1.0 - share) * self.variance
      + share * variance
      + share * (1.0 - share) * tf.square(delta)
    )
    self.mean.assign_add(share * delta)
    self.count.assign(total)


class Policy(tf.keras.Model):
  """pi_theta: MLP, then tanh onto the action bounds (A.8).

  Maps observations [B, S] to actions [B, A].
  """

  def __init__(
    self,
    action_spec: specs.BoundedArray,
    hidden_sizes: Sequence[int],
    layer_norm: bool,
    seed: int,
    **kwargs,
  ):
    super().__init__(**kwargs)
    low = np.broadcast_to(action_spec.minimum, action_spec.shape)
    high = np.broadcast_to(action_spec.maximum, action_spec.shape)
    self._centre = tf.constant((high + low) / 2, self.dtype)
    self._half_range = tf.constant((high - low) / 2, self.dtype)
    self._mlp = layers.MLP(
      hidden_sizes,
      action_spec.shape[0],
      seed,
      residual=True,
      norm='first' if layer_norm else None,
      near_zero=True,
      dtype=self.dtype,
      name='mlp',
    )

  def call(self, observation):
    return self._centre + self._half_range * tf.tanh(self._mlp(observation))


class ActingPolicy(tf.keras.Model):
  """The policy on raw observations, [B, S] to [B, A]; shares its parts' weights."""

  def __init__(self, normalizer: Normalizer, policy: Policy, **kwargs):
    super().__init__(**kwargs)
    self._normalizer = normalizer
    self._policy = policy
    self.observation_size = normalizer.mean.shape[0]

  def call(self, observation):
    return self._policy(self._normalizer(observation))
