"""World models of transitions: the paper's cVAE (A.4, A.5), and others with a mean.

Of those, a latent explains only what state and action leave open.
"""

from typing import Optional, Sequence, Tuple

import tensorflow as tf
import tensorflow_probability as tfp

from acme_dsdpg.networks import layers

tfd = tfp.distributions

_MIN_SCALE = 1e-3


class WorldModel(tf.keras.Model):
  """A model of (R, s+) given (s, a) and a latent eps, differentiable in s and a.

  Its mean is, by `kind`:

  - 'cvae': decoder(s, a, eps), the paper's. Where eps can tell the outcome, it takes
    the action's effect with it.
  - 'mean': f(s, a), the conditional mean; eps is empty.
  - 'residual_cvae': f(s, a) + g(s, a, eps). The encoder sees what f leaves over.

  All predict the change of the state. Given N-step transitions they model N steps at
  once; given first steps, one.

  Attributes:
    latent_size: dimensions of eps, S + 1 or 0.
  """

  def __init__(
    self,
    input_sizes: Tuple[int, int],
    hidden_sizes: Sequence[int],
    seed: int,
    kind: str = 'cvae',
    **kwargs,
  ):
    """Initializes the model.

    Args:
      input_sizes: S and A.
      hidden_sizes: of encoder, decoder (g) and f.
      seed: of the initial weights.
      kind: see the class.
      **kwargs: of `tf.keras.Model`.
    """
    super().__init__(**kwargs)
    stream = layers.seeds(seed)
    self._outcome_size = input_sizes[0] + 1
    self.latent_size = 0 if kind == 'mean' else self._outcome_size
    make = lambda size, name: layers.MLP(
      hidden_sizes, size, next(stream), norm='after', dtype=self.dtype, name=name
    )
    self._encoder = make(2 * self.latent_size, 'encoder') if self.latent_size else None
    self._decoder = make(self._outcome_size, 'decoder') if self.latent_size else None
    self._mean = None if kind == 'cvae' else make(self._outcome_size, 'mean')
    if self._mean is not None:
      with tf.name_scope(self._mean.name):
        self._mean.build([None, sum(input_sizes)])

  def mean(self, observation: tf.Tensor, action: tf.Tensor) -> Optional[tf.Tensor]:
    """Returns f(s, a): reward and change of the state, [N, 1 + S]; None without f."""
    if self._mean is None:
      return None
    return self._mean.of_columns((observation, 0), (action, observation.shape[-1]))

  def encode(
    self,
    observation: tf.Tensor,
    action: tf.Tensor,
    reward: tf.Tensor,
    next_observation: tf.Tensor,
    mean: Optional[tf.Tensor] = None,
  ) -> tfd.Distribution:
    """Returns q_zeta(eps | s+, R; s, a), a diagonal Gaussian, batch [N] (Eq. 29).

    Args:
      observation: [N, S].
      action: [N, A].
      reward: [N], of as many steps as lie between the observations.
      next_observation: [N, S].
      mean: f(s, a) if it is known, [N, 1 + S].
    """
    outcome = tf.concat([reward[:, tf.newaxis], next_observation], axis=-1)
    if not self.latent_size:
      return self._gaussian(outcome[:, :0], outcome[:, :0] + 1.0)
    if self._mean is not None:
      mean = self.mean(observation, action) if mean is None else mean
      outcome -= mean + tf.pad(observation, [[0, 0], [1, 0]])
    inputs = tf.concat([observation, action, outcome], axis=-1)
    location, scale = tf.split(self._encoder(inputs), 2, axis=-1)
    return self._gaussian(location, tf.nn.softplus(scale) + _MIN_SCALE)

  def decode(
    self,
    observation: tf.Tensor,
    action: tf.Tensor,
    latent: tf.Tensor,
    mean: Optional[tf.Tensor] = None,
  ) -> Tuple[tf.Tensor, tf.Tensor]:
    """Returns the mean of p_psi(s+, R | eps; s, a): reward [N], s+ [N, S].

    Args:
      observation: [N, S].
      action: [N, A].
      latent: [N, latent_size].
      mean: f(s, a) if it is known, [N, 1 + S].
    """
    output = self.mean(observation, action) if mean is None else mean
    if self.latent_size:
      explained = self._decoder(tf.concat([observation, action, latent], axis=-1))
      output = explained if output is None else output + explained
    # Not slices: their tangents would be pushed forward one after the other.
    reward, change = tf.split(output, [1, self._outcome_size - 1], axis=-1)
    return tf.squeeze(reward, axis=-1), observation + change

  def prior(self) -> tfd.Distribution:
    """Returns N(0, I) over the latent."""
    zeros = tf.zeros([self.latent_size], self.compute_dtype)
    return self._gaussian(zeros, zeros + 1.0)

  def call(self, observation, action, reward, next_observation):
    """Reconstructs from the posterior's mean; builds all the weights."""
    posterior = self.encode(observation, action, reward, next_observation)
    return self.decode(observation, action, posterior.mean())

  def _gaussian(self, mean: tf.Tensor, scale: tf.Tensor) -> tfd.Distribution:
    return tfd.Independent(tfd.Normal(mean, scale), reinterpreted_batch_ndims=1)
