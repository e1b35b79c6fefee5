"""The cVAE's loss (Eq. 30, with the sign of Eq. 31 put right)."""

import math


def gaussian_kl(mean, std):
  """KL(N(mean, diag std^2) || N(0, I))."""
  total = 0.0
  for m, s in zip(mean, std):
    total += 0.5 * (m * m + s * s - 1.0 - math.log(s * s))
  return total


def log_density(x, mean, std):
  """Of a diagonal Gaussian."""
  total = 0.0
  for value, m, s in zip(x, mean, std):
    total -= 0.5 * ((value - m) / s) ** 2 + math.log(s) + 0.5 * math.log(2.0 * math.pi)
  return total


def reconstruction(reward, next_state, predicted_reward, predicted_state):
  """Sum over dimensions of squared error, mean over the batch."""
  total = 0.0
  for r, s, r_hat, s_hat in zip(reward, next_state, predicted_reward, predicted_state):
    total += (r - r_hat) ** 2
    for a, b in zip(s, s_hat):
      total += (a - b) ** 2
  return total / len(reward)


def loss(reward, next_state, predicted_reward, predicted_state, mean, std, kl_weight):
  kl = sum(gaussian_kl(m, s) for m, s in zip(mean, std)) / len(mean)
  error = reconstruction(reward, next_state, predicted_reward, predicted_state)
  return error + kl_weight * kl
