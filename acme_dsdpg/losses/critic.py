"""The squared error of Sobolev regressions."""

import tensorflow as tf


def sobolev_squared_error(
  x: tf.Tensor, y: tf.Tensor, gradient_weight: float = 1.0
) -> tf.Tensor:
  """Computes |z_x - z_y|^2 + lambda |grad_x - grad_y|^2 of Sobolev samples (Eq. 10).

  Args:
    x: [B, 1, D] float, first coordinate the return, the others its gradient.
    y: [B, N, D] float, N samples of the target.
    gradient_weight: lambda.

  Returns:
    [B], the mean over N. Its gradient in x is that of the error from the mean target.
  """
  squared = tf.math.squared_difference(x, y)
  error = squared[..., 0] + gradient_weight * tf.reduce_sum(squared[..., 1:], -1)
  return tf.reduce_mean(error, axis=-1)
