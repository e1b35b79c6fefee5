"""Adam and Rectified Adam on one vector, a number at a time."""

import math


def adam(theta, gradients, rate, beta_1=0.9, beta_2=0.999, epsilon=1e-7):
  """Kingma and Ba (2015), Section 2, its last lines; returns theta after each step."""
  theta = [float(x) for x in theta]
  m, v = [0.0] * len(theta), [0.0] * len(theta)
  history = []
  for t, gradient in enumerate(gradients, 1):
    rate_t = rate * math.sqrt(1.0 - beta_2**t) / (1.0 - beta_1**t)
    for i, g in enumerate(gradient):
      m[i] = beta_1 * m[i] + (1.0 - beta_1) * g
      v[i] = beta_2 * v[i] + (1.0 - beta_2) * g * g
      theta[i] -= rate_t * m[i] / (math.sqrt(v[i]) + epsilon)
    history.append(list(theta))
  return history


def rectified_adam(
  theta, gradients, rate, beta_1=0.9, beta_2=0.999, epsilon=1e-7, begins=None
):
  """Liu et al. (2020), Algorithm 2, rectified where `begins(rho)`; theta after each step.

  The default is the authors' code, rho >= 5; Algorithm 2 has rho > 4.
  """
  begins = begins or (lambda rho: rho >= 5.0)
  theta = [float(x) for x in theta]
  m, v = [0.0] * len(theta), [0.0] * len(theta)
  rho_inf = 2.0 / (1.0 - beta_2) - 1.0
  history = []
  for t, gradient in enumerate(gradients, 1):
    rho = sma_length(t, beta_2)
    for i, g in enumerate(gradient):
      m[i] = beta_1 * m[i] + (1.0 - beta_1) * g
      v[i] = beta_2 * v[i] + (1.0 - beta_2) * g * g
      step = m[i] / (1.0 - beta_1**t)
      if begins(rho):
        above = (rho - 4.0) * (rho - 2.0) * rho_inf
        below = (rho_inf - 4.0) * (rho_inf - 2.0) * rho
        step *= math.sqrt(above / below)
        step /= math.sqrt(v[i] / (1.0 - beta_2**t)) + epsilon
      theta[i] -= rate * step
    history.append(list(theta))
  return history


def sma_length(t, beta_2):
  """Liu et al. (2020), Section 4.1: rho_t from its definition, not in closed form.

  A simple mean of the last rho values has its centre of mass where the exponential
  mean of t values has it.
  """
  weights = [beta_2 ** (t - i) for i in range(1, t + 1)]
  centre = sum(w * (t + 1 - i) for i, w in enumerate(weights, 1)) / sum(weights)
  return 2.0 * centre - 1.0
