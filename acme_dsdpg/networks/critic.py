"""The paper's critic: noise enters at the input, beside state and action.

Its interface is `losses.sobolev.Critic`.
"""

import abc
from typing import Callable, List, Sequence, Tuple

import tensorflow as tf

from acme_dsdpg.networks import layers


def repeat_rows(x: tf.Tensor, times: int) -> tf.Tensor:
  """Copies rows, [B, D] -> [B * times, D], the copies of a row beside each other."""
  batch_size, size = x.shape
  x = tf.broadcast_to(x[:, tf.newaxis], [batch_size, times, size])
  return tf.reshape(x, [batch_size * times, size])


class SampledCritic(abc.ABC):
  """A critic in two halves: what the samples of a pair share, and one sample of it.

  Each row is computed by itself (no batch normalisation).
  """

  @abc.abstractmethod
  def embed(self, observation: tf.Tensor, action: tf.Tensor) -> List[tf.Tensor]:
    """Returns what the samples of a pair share: a list of [N, ...] tensors."""

  @abc.abstractmethod
  def sample(self, embedding: Sequence[tf.Tensor], noise: tf.Tensor) -> tf.Tensor:
    """Returns a sample of the return, [N], for N rows of embedding and noise [N, K]."""

  @abc.abstractmethod
  def input_gradients(
    self, gradients: Sequence[tf.Tensor]
  ) -> Tuple[tf.Tensor, tf.Tensor]:
    """Returns dz/ds [N, S] and dz/da [N, A] from dz/d embedding of N rows."""

  def samples(
    self, observation: tf.Tensor, action: tf.Tensor, noise: tf.Tensor
  ) -> tf.Tensor:
    """Draws M returns a pair.

    Args:
      observation: [B, S] float.
      action: [B, A] float, same type.
      noise: [B, M, K] float, same type.

    Returns:
      [B, M]; differentiable.
    """
    embedding = self._repeated(observation, action, noise)
    return tf.reshape(self.sample(embedding, _flatten(noise)), noise.shape[:2])

  def samples_and_gradients(
    self, observation: tf.Tensor, action: tf.Tensor, noise: tf.Tensor
  ) -> Tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Draws M returns a pair, with both input gradients.

    Args:
      observation: [B, S] float.
      action: [B, A] float, same type.
      noise: [B, M, K] float, same type.

    Returns:
      z [B, M], dz/ds [B, M, S], dz/da [B, M, A]; differentiable in the critic's
      weights, in the inputs and in the noise.

    Raises:
      ValueError: the critic ignores the observation or the action.
    """
    embedding = self._repeated(observation, action, noise)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
      tape.watch(embedding)
      z = self.sample(embedding, _flatten(noise))
    # Rows are independent, so the gradient of the sum is each row's gradient.
    gradients = self.input_gradients(tape.gradient(z, embedding))
    for name, gradient in zip(('observation', 'action'), gradients):
      if gradient is None:
        raise ValueError(f'The critic does not depend on its {name}.')
    unflatten = lambda x: tf.reshape(x, [*noise.shape[:2], *x.shape[1:]])
    return unflatten(z), unflatten(gradients[0]), unflatten(gradients[1])

  def _repeated(self, observation, action, noise) -> List[tf.Tensor]:
    return [repeat_rows(x, noise.shape[1]) for x in self.embed(observation, action)]


def _flatten(noise: tf.Tensor) -> tf.Tensor:
  """Flattens [B, M, K] to [B * M, K]."""
  return tf.reshape(noise, [noise.shape[0] * noise.shape[1], noise.shape[2]])


class FunctionCritic(SampledCritic):
  """A function (observation [N, S], action [N, A], noise [N, K]) -> [N] as a critic."""

  def __init__(self, function: Callable[..., tf.Tensor]):
    self._function = function

  def embed(self, observation, action):
    return [observation, action]

  def sample(self, embedding, noise):
    return self._function(*embedding, noise)

  def input_gradients(self, gradients):
    return tuple(gradients)


class Critic(SampledCritic, tf.keras.Model):
  """Z_phi(s, a, xi): a cGMMN, noise beside [s ; a] in one MLP (A.8).

  Maps observation [N, S], action [N, A], noise [N, K] to [N].
  """

  def __init__(
    self,
    input_sizes: Tuple[int, int, int],
    hidden_sizes: Sequence[int],
    layer_norm: bool,
    seed: int,
    **kwargs,
  ):
    """Initializes and builds the critic; `input_sizes` are S, A and K."""
    super().__init__(**kwargs)
    observation_size, action_size, noise_dim = input_sizes
    self._action_start = observation_size
    self._noise_start = observation_size + action_size
    self._noise_dim = noise_dim
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
    zeros = lambda size: tf.zeros([1, size], self.dtype)
    self(*map(zeros, input_sizes))

  def call(self, observation, action, noise):
    return self.sample(self.embed(observation, action), noise)

  def draw_noise(self, seed: tf.Tensor, batch_size: int, num_samples: int) -> tf.Tensor:
    """Draws xi ~ N(0, I_K), [B, M, K], from a stateless seed, int [2]."""
    shape = [batch_size, num_samples, self._noise_dim]
    return tf.random.stateless_normal(shape, seed, dtype=self.dtype)

  def embed(self, observation, action):
    # Linear in [s ; a].
    return self._mlp.input_terms(tf.concat([observation, action], axis=-1))

  def sample(self, embedding, noise):
    by_noise = self._mlp.input_terms(noise, self._noise_start)
    return self._mlp.from_terms([e + n for e, n in zip(embedding, by_noise)])[:, 0]

  def input_gradients(self, gradients):
    return (
      self._mlp.input_gradient(gradients, 0, self._action_start),
      self._mlp.input_gradient(gradients, self._action_start, self._noise_start),
    )
