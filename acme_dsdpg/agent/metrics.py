"""Metrics of a learner step; docs/metrics.md defines each."""

from typing import Dict, Iterable, Sequence

import tensorflow as tf

Metrics = Dict[str, tf.Tensor]


def sample_metrics(samples: tf.Tensor, target: tf.Tensor) -> Metrics:
  """Computes statistics of Sobolev samples [B, M, D] and of their target [B, N, D]."""
  z, y = samples[..., 0], target[..., 0]
  td_error = tf.reduce_mean(y, axis=-1) - tf.reduce_mean(z, axis=-1)
  metrics = {
    'return_mean': tf.reduce_mean(z),
    'return_spread': _spread(z),
    'target_mean': tf.reduce_mean(y),
    'target_spread': _spread(y),
    'td_error_mean': tf.reduce_mean(td_error),
    'td_error_abs': tf.reduce_mean(tf.abs(td_error)),
  }
  if samples.shape[-1] > 1:
    for name, x in (('gradient', samples), ('target_gradient', target)):
      gradient = x[..., 1:]
      metrics[f'{name}_norm'] = tf.reduce_mean(tf.norm(gradient, axis=-1))
      metrics[f'{name}_spread'] = _spread(tf.linalg.matrix_transpose(gradient))
  return metrics


def _spread(x: tf.Tensor) -> tf.Tensor:
  """Mean standard deviation over the last axis."""
  return tf.reduce_mean(tf.math.reduce_std(x, axis=-1))


def norm(tensors: Sequence[tf.Tensor]) -> tf.Tensor:
  """Computes the L2 norm of all entries, finite wherever it and all of them are.

  `tf.norm` squares first, and overflows in float32 above 1e19. Columns come first: XLA
  reduces a whole matrix to a scalar one entry after the other.
  """
  largest = tf.reduce_max(_of_columns(tf.reduce_max, map(tf.abs, tensors)))
  scale = tf.where(largest > 0.0, largest, tf.ones_like(largest))
  squares = (tf.square(x / scale) for x in tensors)
  return scale * tf.sqrt(tf.reduce_sum(_of_columns(tf.reduce_sum, squares)))


def _of_columns(reduce, tensors: Iterable[tf.Tensor]) -> tf.Tensor:
  return tf.concat([tf.reshape(reduce(x, axis=0), [-1]) for x in tensors], axis=0)


def all_finite(tensors: Sequence[tf.Tensor]) -> tf.Tensor:
  """Returns whether no entry is NaN or infinite, a bool scalar."""
  each = [tf.reduce_all(tf.math.is_finite(tensor)) for tensor in tensors]
  return tf.reduce_all(tf.stack(each))
