"""Kernels of two vectors."""

import math


def squared_distance(x, y):
  return sum((float(a) - float(b)) ** 2 for a, b in zip(x, y))


def multiquadric(x, y, h):
  return -math.sqrt(1.0 + h * h * squared_distance(x, y))


def rbf(x, y, bandwidths):
  total = 0.0
  for sigma in bandwidths:
    total += math.exp(-squared_distance(x, y) / (2.0 * sigma * sigma))
  return total


def rational_quadratic(x, y, alpha):
  return (1.0 + squared_distance(x, y) / (2.0 * alpha)) ** (-alpha)


def scaled(kernel, scales):
  def scaled_kernel(x, y):
    return kernel(
      [scale * float(a) for scale, a in zip(scales, x)],
      [scale * float(b) for scale, b in zip(scales, y)],
    )

  return scaled_kernel
