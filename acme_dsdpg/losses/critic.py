"""The squared-error losses of the point critic."""

import tensorflow as tf


def sobolev_squared_error(
  x: tf.Tensor, y: tf.Tensor, gradient_weight: float = 1.0
) -> tf.Tensor:
  """|z_x - z_y|^2 + lambda |grad_x - grad_y|^2 on Sobolev samples (Eq. 10).

  Args:
    x: [B, M, D] float, first coordinate the return, the others its gradient; a
      point critic has M = 1.
    y: [B, M, D] float, the target.
    gradient_weight: lambda.

  Returns:
    [B], the mean over M.
  """
  squared = tf.math.squared_difference(x, y)
  error = squared[..., 0] + gradient_weight * tf.reduce_sum(squared[..., 1:], -1)
  return tf.reduce_mean(error, axis=-1)
