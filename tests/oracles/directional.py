"""Critics linear in features of their noise, derivatives taken by hand.

h_k(s, a) = sum_j c_kj tanh(u_j s + v_j a + b_j),  Z = sum_k phi_k h_k
phi_0 = 1,  phi_k(tau) = sqrt(2) cos(pi k tau) / k
"""

import math

import numpy as np

from tests.oracles import sobolev


class Critic:
  """1 + K coefficients."""

  def __init__(self, rng, state_size, action_size, num_features, units=3):
    self.c = rng.normal(size=(1 + num_features, units))
    self.u = rng.normal(size=(units, state_size))
    self.v = rng.normal(size=(units, action_size))
    self.b = rng.normal(size=units)

  def value(self, s, a):
    """[1 + K]."""
    hidden = [math.tanh(self._input(j, s, a)) for j in range(len(self.b))]
    return np.array([sobolev.dot(row, hidden) for row in self.c])

  def gradients(self, s, a):
    """dh/ds [1 + K, S] and dh/da [1 + K, A]."""
    of_s = np.zeros((len(self.c), len(s)))
    of_a = np.zeros((len(self.c), len(a)))
    for k in range(len(self.c)):
      for j in range(len(self.b)):
        slope = self.c[k, j] * (1.0 - math.tanh(self._input(j, s, a)) ** 2)
        for i in range(len(s)):
          of_s[k, i] += slope * self.u[j, i]
        for i in range(len(a)):
          of_a[k, i] += slope * self.v[j, i]
    return of_s, of_a

  def _input(self, j, s, a):
    return sobolev.dot(self.u[j], s) + sobolev.dot(self.v[j], a) + self.b[j]


def features(tau, num_features):
  """phi(tau), [1 + K]."""
  waves = range(1, num_features + 1)
  return [1.0] + [math.sqrt(2.0) * math.cos(math.pi * k * tau) / k for k in waves]


def samples(coefficients, phi):
  """Of one row's coefficients [1 + D, 1 + K] and features [M, 1 + K]: [M, 1 + D]."""
  return np.array([[sobolev.dot(p, row) for row in coefficients] for p in phi])


def target(model, policy, critic, s, a, eps, discount, directions, wrt):
  """Coefficients of the Bellman target of one row, [1 + D, 1 + K] (Eqs. 15-18).

  Args:
    directions: [D, X], or None for each of the X inputs.
  """
  reward, next_s = model.value(s, a, eps)
  of_reward, of_state = model.jacobians(s, a, eps)
  next_a, of_policy = policy.value(next_s), policy.jacobian(next_s)
  h = critic.value(next_s, next_a)
  h_s, h_a = critic.gradients(next_s, next_a)
  rows = [[discount * h_k + (reward if k == 0 else 0.0) for k, h_k in enumerate(h)]]
  if wrt == 'none':
    return np.array(rows)
  inputs = range(len(s) if wrt == 'action' else 0, len(s) + len(a))
  derivatives = []  # One row for each input.
  for x in inputs:
    row = []
    for k in range(len(h)):
      total = 0.0
      for i in range(len(s)):
        by_state = h_s[k, i]
        for j in range(len(a)):
          by_state += h_a[k, j] * of_policy[j, i]
        total += of_state[i, x] * by_state
      row.append(discount * total + (of_reward[x] if k == 0 else 0.0))
    derivatives.append(row)
  if directions is None:
    return np.array(rows + derivatives)
  for u in directions:
    along = [sobolev.dot(u, column) for column in zip(*derivatives)]
    rows.append(along)
  return np.array(rows)


def explained_change(s, next_s, predicted):
  """w of one transition."""
  error = change = 0.0
  for i in range(len(s)):
    error += (next_s[i] - predicted[i]) ** 2
    change += (next_s[i] - s[i]) ** 2
  share = 1.0 - error / (change + 0.001)
  return min(max(share, 0.0), 1.0) ** 2
