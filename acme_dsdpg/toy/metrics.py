"""Metrics of Figs. 3, 4, 9 and 10, of a generator at given x."""

import tensorflow as tf

from acme_dsdpg.losses import kernels, mmd
from acme_dsdpg.toy import problem, supervised


def joint_mmd(samples: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
  """Computes the mean over x of the MMD between [f ; f'] and the modes (Fig. 3, left).

  Rational quadratic kernel, alpha 1 (Eq. 38); the square root of the biased MMD^2,
  whose terms with the modes are exact expectations, as they are equally likely.

  Args:
    samples: [B, M, 2].
    x: [B, 1].
  """
  true = problem.modes(x)
  target = tf.concat([true.y[..., tf.newaxis], true.dy_dx], axis=-1)
  squared = mmd.mmd2(samples, target, kernels.RationalQuadratic(1.0))
  return tf.reduce_mean(tf.sqrt(tf.maximum(squared, 0.0)))


def gradient_error(samples: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
  """Computes the mean over x of |mean f' - 2 cos x|^2 (Fig. 3, right; Fig. 4, left).

  Args:
    samples: [B, M, 2]; the prediction is their mean.
    x: [B, 1].
  """
  predicted = tf.reduce_mean(samples[..., 1:], axis=1)
  return tf.reduce_mean((predicted - problem.expected_gradient(x)) ** 2)


def second_derivative_norm(
  generator: supervised.Generator, x: tf.Tensor, noise: tf.Tensor
) -> tf.Tensor:
  """Computes the mean over x and samples of |f''| (Fig. 4, right).

  Args:
    generator: one model.
    x: [B, 1].
    noise: [B, M, K].
  """
  num_samples = noise.shape[1]
  rows = tf.repeat(x, num_samples, axis=0)
  noise = tf.reshape(noise, [rows.shape[0], 1, noise.shape[-1]])
  with tf.GradientTape() as tape:
    tape.watch(rows)
    gradient = supervised.sobolev_samples(generator, rows, noise)[..., 1]
  return tf.reduce_mean(tf.abs(tape.gradient(gradient, rows)))
