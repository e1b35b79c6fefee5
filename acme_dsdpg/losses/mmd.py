"""Squared maximum mean discrepancy between two sets of samples."""

import tensorflow as tf

from acme_dsdpg.losses import kernels


def mmd2(
  x: tf.Tensor, y: tf.Tensor, kernel: kernels.Kernel, unbiased: bool = False
) -> tf.Tensor:
  """Computes MMD^2 = mean k(X, X) + mean k(Y, Y) - 2 mean k(X, Y) (Eqs. 19-22).

  The biased V-statistic averages over all pairs (Eq. 22, the paper's). The
  unbiased one leaves i = j out of the two self terms and keeps every pair of the
  cross term. (Alg. 1, line 10 leaves i = j out of the cross term as well, which
  estimates nothing: a slip.)

  Args:
    x: [..., M, D], float.
    y: [..., N, D], float, same leading axes. Gradients flow into both: stop
      those into a target at its source.
    kernel: callable on broadcasting [..., D].
    unbiased: which estimator.

  Returns:
    [...], one value for each leading index; may be negative if unbiased.

  Raises:
    ValueError: mismatched shapes, or fewer than two samples if unbiased.
  """
  m, n = x.shape[-2], y.shape[-2]
  if x.shape[-1] != y.shape[-1]:
    raise ValueError(f'x and y differ in their last axis: {x.shape}, {y.shape}.')
  if unbiased and (m < 2 or n < 2):
    raise ValueError(f'The unbiased MMD needs 2 samples of each, not {m} and {n}.')

  def self_term(samples: tf.Tensor, size: int) -> tf.Tensor:
    gram = _gram(kernel, samples, samples)
    if not unbiased:
      return tf.reduce_mean(gram, axis=[-2, -1])
    diagonal = tf.linalg.diag_part(gram)
    total = tf.reduce_sum(gram, axis=[-2, -1]) - tf.reduce_sum(diagonal, axis=-1)
    return total / (size * (size - 1))

  cross = tf.reduce_mean(_gram(kernel, x, y), axis=[-2, -1])
  return self_term(x, m) + self_term(y, n) - 2.0 * cross


def _gram(kernel: kernels.Kernel, x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
  """Computes k of every pair: [..., M, N]."""
  return kernel(x[..., :, tf.newaxis, :], y[..., tf.newaxis, :, :])
