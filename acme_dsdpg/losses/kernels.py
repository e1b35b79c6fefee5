"""Kernels of the maximum mean discrepancy.

A kernel is a callable `k(x, y)` on tensors of shape [..., D] that broadcast
against each other; it returns the shape without the last axis. Kernels are
composed by `Sum` (a weighted sum of kernels is a kernel) and `Scaled` (a factor
for each coordinate), so that, for instance, the return and the gradient
coordinates of a Sobolev sample can be weighted apart.

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


@dataclasses.dataclass(frozen=True)
class Linear:
  """The kernel k(x, y) = <x, y>: its biased MMD^2 is |mean X - mean Y|^2."""

  def __call__(self, x, y):
    return tf.reduce_sum(x * y, axis=-1)


@dataclasses.dataclass(frozen=True)
class Scaled:
  """The kernel k(w x, w y) with a factor for each coordinate; a factor of 0 drops it."""

  kernel: Kernel
  scales: Tuple[float, ...]

  def __call__(self, x, y):
    # Zeros at the ends are cut off, not multiplied: XLA would compile them in.
    kept = [i for i, scale in enumerate(self.scales) if scale]
    first, last = (kept[0], kept[-1] + 1) if kept else (0, len(self.scales))
    scales = self.scales[first:last]
    x, y = x[..., first:last], y[..., first:last]
    if any(scale != 1.0 for scale in scales):
      scales = tf.constant(scales, x.dtype)
      x, y = x * scales, y * scales
    return self.kernel(x, y)


@dataclasses.dataclass(frozen=True)
class Sum:
  """The kernel k(x, y) = sum_i weight_i k_i(x, y), weights >= 0."""

  terms: Tuple[Tuple[float, Kernel], ...]

  def __post_init__(self):
    if not self.terms or any(weight < 0 for weight, _ in self.terms):
      raise ValueError(
        f'terms={self.terms!r} is not valid: it must be one or more pairs of a '
        'weight (0 or greater) and a kernel.'
      )

  def __call__(self, x, y):
    return tf.add_n([weight * kernel(x, y) for weight, kernel in self.terms])


def _check_positive(name: str, value: float):
  if not value > 0:
    raise ValueError(f'{name}={value!r} is not valid: it must be greater than 0.')
