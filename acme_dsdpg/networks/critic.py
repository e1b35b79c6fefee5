"""The critic: a sample of the return from noise, or one return; and several of them."""

from typing import List, Sequence, Tuple

import tensorflow as tf

from acme_dsdpg.networks import layers


class Critic(tf.keras.Model):
  """Z_phi(s, a, xi): a cGMMN, noise beside [s ; a] in one MLP (A.8).

  With noise of size 0 it is the point critic Q_phi(s, a): the same network
  without noise. Maps observation [N, S], action [N, A], noise [N, K] to [N].
  """

  def __init__(
    self,
    input_sizes: Tuple[int, int, int],
    hidden_sizes: Sequence[int],
    layer_norm: bool,
    seed: int,
    **kwargs,
  ):
    """Initializes the critic; `input_sizes` are S, A and K."""
    super().__init__(**kwargs)
    observation_size, action_size, noise_dim = input_sizes
    self._action_start = observation_size
    self._noise_start = observation_size + action_size
    self._mlp = layers.MLP(
      hidden_sizes,
      1,
      seed,
      residual=True,
      norm='first' if layer_norm else None,
      dtype=self.dtype,
      name='mlp',
    )
    with tf.name_scope(self._mlp.name):
      self._mlp.build([None, self._noise_start + noise_dim])

  def call(self, observation, action, noise):
    return self.sample(self.embed(observation, action), noise)

  # The same in two halves: what the samples of a state and action share, and the rest.

  def embed(self, observation: tf.Tensor, action: tf.Tensor) -> List[tf.Tensor]:
    """The state and action's part: a list of [N, H_i], linear in [s ; a]."""
    return self._mlp.input_terms(tf.concat([observation, action], axis=-1))

  def sample(self, embedding: Sequence[tf.Tensor], noise: tf.Tensor) -> tf.Tensor:
    """Returns [N] from an embedding of N rows and noise [N, K]."""
    if noise.shape[-1]:
      by_noise = self._mlp.input_terms(noise, self._noise_start)
      embedding = [e + n for e, n in zip(embedding, by_noise)]
    return self._mlp.from_terms(embedding)[:, 0]

  def input_gradients(
    self, gradients: Sequence[tf.Tensor]
  ) -> Tuple[tf.Tensor, tf.Tensor]:
    """From dz/d embedding, [N, H_i] each: dz/ds [N, S] and dz/da [N, A]."""
    return (
      self._mlp.input_gradient(gradients, 0, self._action_start),
      self._mlp.input_gradient(gradients, self._action_start, self._noise_start),
    )


class CriticEnsemble(tf.Module):
  """Critics beside each other, which `losses.sobolev` takes for one.

  Of M samples of a state and action the first M / C are the first member's, and so on.
  """

  def __init__(self, members: Sequence[Critic], name: str):
    """Initializes the ensemble from its C members, built."""
    super().__init__(name=name)
    self.members = list(members)
