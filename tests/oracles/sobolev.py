"""Sobolev samples and targets of one transition, derivatives taken by hand.

A small critic, policy and world model stand in for the networks:

    z(s, a, xi) = sum_k c_k tanh(u_k s + v_k a + w_k xi + b_k)
    pi(s)_j     = tanh(p_j s)
    s^(s, a)_i  = s_i + tanh(f_i s + g_i a + e_i eps)
    R^(s, a)    = q s + s n a + 1/2 a m a + eps_0 a_0        (m diagonal)
"""

import math

import numpy as np


def dot(a, b):
  return sum(float(x) * float(y) for x, y in zip(a, b))


class Critic:
  def __init__(self, rng, state_size, action_size, noise_dim, units=3):
    self.c = rng.normal(size=units)
    self.u = rng.normal(size=(units, state_size))
    self.v = rng.normal(size=(units, action_size))
    self.w = rng.normal(size=(units, noise_dim))
    self.b = rng.normal(size=units)

  def _hidden(self, k, s, a, xi):
    return math.tanh(
      dot(self.u[k], s) + dot(self.v[k], a) + dot(self.w[k], xi) + self.b[k]
    )

  def value(self, s, a, xi):
    return sum(self.c[k] * self._hidden(k, s, a, xi) for k in range(len(self.c)))

  def gradients(self, s, a, xi):
    dz_ds, dz_da = np.zeros(len(s)), np.zeros(len(a))
    for k in range(len(self.c)):
      slope = self.c[k] * (1.0 - self._hidden(k, s, a, xi) ** 2)
      for i in range(len(s)):
        dz_ds[i] += slope * self.u[k, i]
      for j in range(len(a)):
        dz_da[j] += slope * self.v[k, j]
    return dz_ds, dz_da


class Policy:
  def __init__(self, rng, state_size, action_size):
    self.p = rng.normal(size=(action_size, state_size))

  def value(self, s):
    return np.array([math.tanh(dot(row, s)) for row in self.p])

  def jacobian(self, s):
    """[A, S]."""
    result = np.zeros(self.p.shape)
    for j, action in enumerate(self.value(s)):
      for i in range(len(s)):
        result[j, i] = (1.0 - action**2) * self.p[j, i]
    return result


class Model:
  def __init__(self, rng, state_size, action_size, latent_size):
    self.f = rng.normal(size=(state_size, state_size))
    self.g = rng.normal(size=(state_size, action_size))
    self.e = rng.normal(size=(state_size, latent_size))
    self.q = rng.normal(size=state_size)
    self.n = rng.normal(size=(state_size, action_size))
    self.m = rng.normal(size=action_size)

  def value(self, s, a, eps):
    """Reward and next state."""
    reward = dot(self.q, s) + eps[0] * a[0]
    for j in range(len(a)):
      reward += 0.5 * self.m[j] * a[j] ** 2
      for i in range(len(s)):
        reward += s[i] * self.n[i, j] * a[j]
    return reward, np.array([s[i] + self._step(i, s, a, eps) for i in range(len(s))])

  def _step(self, i, s, a, eps):
    return math.tanh(dot(self.f[i], s) + dot(self.g[i], a) + dot(self.e[i], eps))

  def jacobians(self, s, a, eps):
    """dR/dx [X] and ds^/dx [S, X] for x = (s, a)."""
    state_size, action_size = len(s), len(a)
    reward = np.zeros(state_size + action_size)
    state = np.zeros((state_size, state_size + action_size))
    for i in range(state_size):
      reward[i] = self.q[i]
      for j in range(action_size):
        reward[i] += self.n[i, j] * a[j]
    for j in range(action_size):
      reward[state_size + j] = self.m[j] * a[j] + (eps[0] if j == 0 else 0.0)
      for i in range(state_size):
        reward[state_size + j] += s[i] * self.n[i, j]
    for i in range(state_size):
      slope = 1.0 - self._step(i, s, a, eps) ** 2
      for k in range(state_size):
        state[i, k] = slope * self.f[i, k] + (1.0 if i == k else 0.0)
      for j in range(action_size):
        state[i, state_size + j] = slope * self.g[i, j]
    return reward, state


def samples(critic, s, a, noise, wrt):
  """[z ; dz/ds ; dz/da] for each row of noise [M, K]."""
  rows = []
  for xi in noise:
    dz_ds, dz_da = critic.gradients(s, a, xi)
    blocks = {'none': [], 'action': [dz_da], 'state_action': [dz_ds, dz_da]}[wrt]
    rows.append(np.concatenate([[critic.value(s, a, xi)], *blocks]))
  return np.array(rows)


def target(
  model, policy, critic, s, a, eps, discount, noise, wrt, observed=None, printed=False
):
  """[y ; dy/dx] for each row of noise (Eqs. 15-18, 24; A.3).

  Args:
    observed: reward and next state that the outcome is anchored to, or None.
    printed: Eq. 28 as printed, without the discount on the gradient.
  """
  reward, next_state = model.value(s, a, eps)
  if observed is not None:
    reward, next_state = observed
  reward_jacobian, state_jacobian = model.jacobians(s, a, eps)
  next_action = policy.value(next_state)
  policy_jacobian = policy.jacobian(next_state)
  first = {'none': None, 'action': len(s), 'state_action': 0}[wrt]
  rows = []
  for xi in noise:
    row = [reward + discount * critic.value(next_state, next_action, xi)]
    dz_ds, dz_da = critic.gradients(next_state, next_action, xi)
    for x in range(0 if first is None else first, len(s) + len(a)):
      if first is None:
        break
      total = 0.0
      for i in range(len(s)):
        through_policy = 0.0
        for j in range(len(next_action)):
          through_policy += policy_jacobian[j, i] * dz_da[j]
        total += state_jacobian[i, x] * (dz_ds[i] + through_policy)
      factor = 1.0 if printed else discount
      row.append(reward_jacobian[x] + factor * total)
    rows.append(row)
  return np.array(rows)


def squared_error(x, y, gradient_weight):
  """|z_x - z_y|^2 + lambda |grad_x - grad_y|^2, mean over M (Eq. 10)."""
  total = 0.0
  for first, second in zip(x, y):
    for j, (a, b) in enumerate(zip(first, second)):
      total += (1.0 if j == 0 else gradient_weight) * (float(a) - float(b)) ** 2
  return total / len(x)


def numerical_gradient(function, x, step=1e-6):
  """Central differences of a scalar function of a vector."""
  result = np.zeros(len(x))
  for i in range(len(x)):
    forward, backward = np.array(x, float), np.array(x, float)
    forward[i] += step
    backward[i] -= step
    result[i] = (function(forward) - function(backward)) / (2.0 * step)
  return result
