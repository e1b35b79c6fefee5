"""The critic of features: noise enters after the trunk.

Its interface is `losses.directional.LinearCritic`, and that of the other critics,
`losses.sobolev.Critic`, with features in place of noise.

It may see what a world model predicts of state and action. What values of states teach
then reaches the action through the model's derivative, before any gradient is matched.
"""

import math
from typing import Callable, Optional, Sequence, Tuple

import numpy as np
import tensorflow as tf

from acme_dsdpg.losses import jacobians
from acme_dsdpg.networks import layers

Predict = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]

_SPREAD = 0.01  # Of the kernel of h_1..K at the start, relative to that of h_0.


def draw_features(
  seed: tf.Tensor, num_samples: int, num_features: int, dtype: tf.DType = tf.float32
) -> tf.Tensor:
  """Draws phi: phi_0 = 1 and phi_k = sqrt(2) cos(pi k tau) / k.

  tau is uniform on (0, 1) and stratified, tau_i = (i + u_i) / M. The phi_k, k > 0, have
  mean 0, variance 1 / k^2 and are not correlated.

  Args:
    seed: stateless, int [2].
    num_samples: M.
    num_features: K; 0 for a point critic.
    dtype: float.

  Returns:
    [M, 1 + K].
  """
  strata = tf.range(num_samples, dtype=dtype)
  uniform = tf.random.stateless_uniform([num_samples], seed, dtype=dtype)
  tau = (strata + uniform) / num_samples
  k = tf.range(1, num_features + 1, dtype=dtype)
  phi = math.sqrt(2.0) * tf.cos(np.pi * k * tau[:, tf.newaxis]) / k
  return tf.concat([tf.ones([num_samples, 1], dtype), phi], axis=1)


class FeatureCritic(tf.keras.Model):
  """Z_phi(s, a, xi) = sum_k phi_k(xi) h_k(s, a), h one network with 1 + K outputs.

  h_0 is the mean return, exactly. With K = 0 it is the point critic Q(s, a).
  """

  def __init__(
    self,
    input_sizes: Tuple[int, int],
    num_features: int,
    hidden_sizes: Sequence[int],
    layer_norm: bool,
    seed: int,
    predict: Optional[Predict] = None,
    **kwargs,
  ):
    """Initializes and builds the critic, with almost no spread.

    Args:
      input_sizes: S and A.
      num_features: K.
      hidden_sizes: of the MLP.
      layer_norm: as in `layers.MLP`, of the first hidden layer.
      seed: of the initial weights.
      predict: (s, a) to reward and change of the state, [N, 1 + S]; the critic's input
        is then [s ; a ; reward ; s + change]. Its weights are not the critic's.
      **kwargs: of `tf.keras.Model`.
    """
    super().__init__(**kwargs)
    self.num_features = num_features
    self._predict = predict
    self._mlp = layers.MLP(
      hidden_sizes,
      1 + num_features,
      seed,
      residual=True,
      norm='first' if layer_norm else None,
      output_scales=(1.0, *[_SPREAD] * num_features),
      dtype=self.dtype,
      name='mlp',
    )
    with tf.name_scope(self._mlp.name):
      self._mlp.build([None, sum(input_sizes) + (1 + input_sizes[0]) * bool(predict)])
    self(*(tf.zeros([1, size], self.dtype) for size in input_sizes))

  def call(self, observation, action):
    end = observation.shape[-1] + action.shape[-1]
    columns = [(observation, 0), (action, observation.shape[-1])]
    if self._predict is not None:
      columns += [(self._predict(observation, action), end), (observation, end + 1)]
    return self._mlp.of_columns(*columns)

  def coefficients(self, observation: tf.Tensor, action: tf.Tensor) -> tf.Tensor:
    """Maps observation [B, S] and action [B, A] to h, [B, 1 + K]."""
    return self(observation, action)

  def draw_noise(self, seed: tf.Tensor, batch_size: int, num_samples: int) -> tf.Tensor:
    """Draws features [M, 1 + K], shared by the batch; see `draw_features`."""
    del batch_size
    return draw_features(seed, num_samples, self.num_features, self.dtype)

  def samples(
    self, observation: tf.Tensor, action: tf.Tensor, features: tf.Tensor
  ) -> tf.Tensor:
    """Draws [B, M] returns from observation [B, S], action [B, A], phi [M, 1 + K]."""
    h = self.coefficients(observation, action)
    return tf.matmul(h, features, transpose_b=True)

  def samples_and_gradients(
    self, observation: tf.Tensor, action: tf.Tensor, features: tf.Tensor
  ) -> Tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Draws z [B, M] with dz/ds [B, M, S] and dz/da [B, M, A], all differentiable."""
    sizes = [observation.shape[-1], action.shape[-1]]
    h, dh = jacobians.value_and_gradients(
      lambda x: self(*tf.split(x, sizes, axis=-1)),
      tf.concat([observation, action], axis=-1),
      1 + self.num_features,
    )
    gradients = tf.einsum('mk,bxk->bmx', features, dh)
    return tf.matmul(h, features, transpose_b=True), *tf.split(gradients, sizes, axis=-1)
