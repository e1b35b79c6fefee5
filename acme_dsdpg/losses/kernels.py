"""Kernels of the maximum mean discrepancy.

A kernel is a callable `k(x, y)` on tensors of shape [..., D] that broadcast
against each other; it returns the shape without the last axis.

Squared distances are taken from differences. The Gram identity
|x|^2 - 2<x, y> + |y|^2 would be one matrix product, but cancels badly in float32
at the paper's h = 100.
"""

import dataclasses
from typing import Callable, Tuple

import tensorflow as tf

Kernel = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


# Up to as many coordinates are summed one by one: XLA then makes one loop over the
# pairs, where a reduction over a last axis this short takes twice the time.
_MAX_UNROLLED = 32


def _sum_of_coordinates(function: Kernel, x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
  """Sums an element-wise function over the last axis."""
  size = x.shape[-1]
  if size > _MAX_UNROLLED:
    return tf.reduce_sum(function(x, y), axis=-1)
  return tf.add_n([function(x[..., i], y[..., i]) for i in range(size)])


def squared_distance(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
  """Computes |x - y|^2 over the last axis."""
  return _sum_of_coordinates(tf.math.squared_difference, x, y)


@dataclasses.dataclass(frozen=True)
class Multiquadric:
  """The kernel k(x, y) = -sqrt(1 + h^2 |x - y|^2) (A.8; Killingberg & Langseth, 2023)."""

  h: float = 100.0

  def __post_init__(self):
    _check_positive('h', self.h)

  def __call__(self, x, y):
    return -tf.sqrt(1.0 + self.h**2 * squared_distance(x, y))


@dataclasses.dataclass(frozen=True)
class RBF:
  """The kernel k(x, y) = sum_i exp(-|x - y|^2 / (2 sigma_i^2)) (Eq. 37)."""

  bandwidths: Tuple[float, ...]

  def __post_init__(self):
    if not self.bandwidths or any(not sigma > 0 for sigma in self.bandwidths):
      raise ValueError(
        f'bandwidths={self.bandwidths!r} is not valid: it must be one or more numbers '
        'greater than 0.'
      )

  def __call__(self, x, y):
    d2 = squared_distance(x, y)
    return tf.add_n([tf.exp(-d2 / (2.0 * sigma**2)) for sigma in self.bandwidths])


@dataclasses.dataclass(frozen=True)
class RationalQuadratic:
  """The kernel k(x, y) = (1 + |x - y|^2 / (2 alpha))^-alpha (Eq. 38)."""

  alpha: float = 1.0

  def __post_init__(self):
    _check_positive('alpha', self.alpha)

  def __call__(self, x, y):
    return (1.0 + squared_distance(x, y) / (2.0 * self.alpha)) ** -self.alpha


def _check_positive(name: str, value: float):
  if not value > 0:
    raise ValueError(f'{name}={value!r} is not valid: it must be greater than 0.')
