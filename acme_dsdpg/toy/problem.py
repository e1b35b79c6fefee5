"""y = a sin x, a uniform on {0, 1, 2, 3, 4}: five modes, known in closed form (4.1)."""

from typing import NamedTuple

import tensorflow as tf

SLOPES = (0.0, 1.0, 2.0, 3.0, 4.0)
X_MAX = 5.0


class Samples(NamedTuple):
  """x [B, 1], y [B, N] and dy/dx [B, N, 1]."""

  x: tf.Tensor
  y: tf.Tensor
  dy_dx: tf.Tensor


def at(x: tf.Tensor, slopes: tf.Tensor) -> Samples:
  """Returns the samples at x [B, 1] with slopes [B, N]."""
  return Samples(x, slopes * tf.sin(x), (slopes * tf.cos(x))[..., tf.newaxis])


def draw(seed: tf.Tensor, num_points: int, num_samples: int = 4) -> Samples:
  """Draws `num_points` of x ~ U[0, 5], `num_samples` slopes each, with replacement.

  Args:
    seed: stateless, int [2].
    num_points: B.
    num_samples: N.
  """
  seeds = tf.random.experimental.stateless_split(seed, 2)
  x = tf.random.stateless_uniform([num_points, 1], seeds[0], 0.0, X_MAX)
  chosen = tf.random.stateless_uniform(
    [num_points, num_samples], seeds[1], 0, len(SLOPES), tf.int32
  )
  return at(x, tf.gather(tf.constant(SLOPES), chosen))


def modes(x: tf.Tensor) -> Samples:
  """Returns all five modes, equally likely, at each x [B, 1]: the distribution itself."""
  slopes = tf.constant([SLOPES], x.dtype)
  return at(x, tf.repeat(slopes, x.shape[0], axis=0))


def expected_gradient(x: tf.Tensor) -> tf.Tensor:
  """Returns E dy/dx = 2 cos x: [B, 1] to [B, 1]."""
  return 2.0 * tf.cos(x)


def grid(num_points: int = 100) -> tf.Tensor:
  """Returns evenly spaced x over [0, 5]: [num_points, 1]."""
  return tf.linspace(0.0, X_MAX, num_points)[:, tf.newaxis]
