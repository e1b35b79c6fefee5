"""Squared maximum mean discrepancy (Eqs. 19-22), and its value for Gaussians."""

import math


def mmd2(x, y, kernel, unbiased=False):
  """Of x [M, D] and y [N, D]."""

  def self_term(samples):
    total, pairs = 0.0, 0
    for i, first in enumerate(samples):
      for j, second in enumerate(samples):
        if unbiased and i == j:
          continue
        total += kernel(first, second)
        pairs += 1
    return total / pairs

  cross = 0.0
  for first in x:
    for second in y:
      cross += kernel(first, second)
  return self_term(x) + self_term(y) - 2.0 * cross / (len(x) * len(y))


def expected_rbf(mean_difference, variance, bandwidth):
  """E k(X, Y) for a Gaussian X - Y with this mean and isotropic variance."""
  size = len(mean_difference)
  width = bandwidth**2 + variance
  distance = sum(d * d for d in mean_difference)
  return (bandwidth**2 / width) ** (size / 2.0) * math.exp(-distance / (2.0 * width))


def gaussian_rbf_mmd2(mean_x, std_x, mean_y, std_y, bandwidth):
  """MMD^2 between N(mean_x, std_x^2 I) and N(mean_y, std_y^2 I)."""
  zero = [0.0] * len(mean_x)
  difference = [a - b for a, b in zip(mean_x, mean_y)]
  return (
    expected_rbf(zero, 2.0 * std_x**2, bandwidth)
    + expected_rbf(zero, 2.0 * std_y**2, bandwidth)
    - 2.0 * expected_rbf(difference, std_x**2 + std_y**2, bandwidth)
  )
