"""Derivatives of row-wise functions, forward or backward through one shared primal.

All are differentiable themselves, by an outer tape.
"""

from typing import Callable, Tuple

import tensorflow as tf


def value_and_jacobian(
  function: Callable[[tf.Tensor], tf.Tensor], x: tf.Tensor
) -> Tuple[tf.Tensor, tf.Tensor]:
  """Computes a row-wise function's value and Jacobian, in forward mode.

  An outcome [R ; s+ ; a+] has more coordinates than it is differentiated by.

  Args:
    function: [B, X] -> [B, Y], each row by itself.
    x: [B, X] float.

  Returns:
    value [B, Y] and jacobian [B, X, Y], `jacobian[b, i, j] = dy_j/dx_i`.
  """
  tape, value, cotangent, gradient = _linear_in_cotangent(function, x)
  return value, tape.batch_jacobian(
    gradient, cotangent, unconnected_gradients=tf.UnconnectedGradients.ZERO
  )


def _linear_in_cotangent(function, x):
  """Returns a tape, the value, a cotangent, and the gradient that it gives by the tape.

  The gradient is linear in its cotangent, and its derivative there pushes tangents
  through one shared primal.
  """
  with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
    with tf.GradientTape(watch_accessed_variables=False) as inner:
      inner.watch(x)
      value = function(x)
    cotangent = tf.zeros_like(value)
    tape.watch(cotangent)
    gradient = inner.gradient(
      value, x, cotangent, unconnected_gradients=tf.UnconnectedGradients.ZERO
    )
  return tape, value, cotangent, gradient


def value_and_pull_back(
  function: Callable[[tf.Tensor], tf.Tensor], x: tf.Tensor
) -> Tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
  """Computes a row-wise function's value, and makes its transposed Jacobian a function.

  In reverse mode: of M cotangents a row it costs M backward passes through one shared
  primal, where `value_and_jacobian` costs X forward ones.

  Args:
    function: [B, X] -> [B, Y], each row by itself.
    x: [B, X] float.

  Returns:
    value [B, Y], and `pull_back`, cotangents [B, M, Y] -> [B, M, X], to be called once.
  """
  with tf.GradientTape(watch_accessed_variables=False) as tape:
    tape.watch(x)
    value = function(x)

  def pull_back(cotangents):
    pulled = tf.vectorized_map(
      lambda cotangent: tape.gradient(
        value, x, cotangent, unconnected_gradients=tf.UnconnectedGradients.ZERO
      ),
      tf.transpose(cotangents, [1, 0, 2]),
    )
    return tf.transpose(pulled, [1, 0, 2])

  return value, pull_back


def value_and_gradients(
  function: Callable[[tf.Tensor], tf.Tensor], x: tf.Tensor, output_size: int
) -> Tuple[tf.Tensor, tf.Tensor]:
  """Computes `value_and_jacobian`, but backward where outputs are fewer than inputs.

  Args:
    function: [B, X] -> [B, Y], each row by itself.
    x: [B, X] float.
    output_size: Y.
  """
  if output_size >= x.shape[-1]:
    return value_and_jacobian(function, x)
  with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
    tape.watch(x)
    outputs = tf.unstack(function(x), axis=-1)
  gradients = [
    tape.gradient(output, x, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    for output in outputs
  ]
  return tf.stack(outputs, axis=-1), tf.stack(gradients, axis=-1)


def value_and_tangents(
  function: Callable[[tf.Tensor], tf.Tensor], x: tf.Tensor, directions: tf.Tensor
) -> Tuple[tf.Tensor, tf.Tensor]:
  """Computes a row-wise function's value and its derivatives along directions, forward.

  Args:
    function: [B, X] -> [B, Y], each row by itself.
    x: [B, X] float.
    directions: [B, D, X], same type.

  Returns:
    value [B, Y], and tangents [B, D, Y], `tangents[b, d] = directions[b, d] . dy_b/dx_b`.
  """
  tape, value, cotangent, gradient = _linear_in_cotangent(function, x)
  tangents = [
    tape.gradient(
      gradient, cotangent, direction, unconnected_gradients=tf.UnconnectedGradients.ZERO
    )
    for direction in tf.unstack(directions, axis=1)
  ]
  return value, tf.stack(tangents, axis=1)
