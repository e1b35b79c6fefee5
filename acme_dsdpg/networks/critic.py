"""The critic: a sample of the return from noise, or one return."""

from typing import Sequence

import tensorflow as tf

from acme_dsdpg.networks import layers


class Critic(tf.keras.Model):
  """Z_phi(s, a, xi): a cGMMN, noise beside [s ; a] in one MLP (A.8).

  With noise of size 0 it is the point critic Q_phi(s, a): the same network
  without noise. Maps observation [N, S], action [N, A], noise [N, K] to [N].
  """

  def __init__(self, hidden_sizes: Sequence[int], layer_norm: bool, seed: int, **kwargs):
    super().__init__(**kwargs)
    self._mlp = layers.MLP(
      hidden_sizes,
      1,
      seed,
      residual=True,
      norm='first' if layer_norm else None,
      dtype=self.dtype,
      name='mlp',
    )

  def call(self, observation, action, noise):
    return self._mlp(tf.concat([observation, action, noise], axis=-1))[:, 0]
