"""A linear-quadratic problem with Gaussian noise under a fixed linear policy.

    s+ = A s + B a + (d + C a) * w,  w ~ N(0, I_S),  * elementwise
    r  = -(s^T W s + a^T R a),       a+ = -K s+

C = 0 is additive noise. Otherwise ds+/da = B + diag(w) C is itself random, and
so is one step's action-gradient. The mean return and its gradients are closed
forms; the distributions are simulated. Float64 NumPy, no automatic derivatives.
"""

import dataclasses
from typing import NamedTuple, Tuple

import numpy as np


class Samples(NamedTuple):
  """Pathwise samples: z [G, N], dz_ds [G, N, S], dz_da [G, N, A]."""

  z: np.ndarray
  dz_ds: np.ndarray
  dz_da: np.ndarray


@dataclasses.dataclass(frozen=True)
class LinearQuadratic:
  """The matrices of the module's text, and the discount of the return."""

  A: np.ndarray  # [S, S]
  B: np.ndarray  # [S, A]
  C: np.ndarray  # [S, A]
  d: np.ndarray  # [S]
  W: np.ndarray  # [S, S], symmetric
  R: np.ndarray  # [A, A], symmetric
  K: np.ndarray  # [A, S]
  discount: float

  @property
  def sizes(self) -> Tuple[int, int]:
    """S, A."""
    return self.B.shape

  def policy(self, s: np.ndarray) -> np.ndarray:
    """[..., S] -> [..., A]."""
    return -s @ self.K.T

  def reward(self, s: np.ndarray, a: np.ndarray) -> np.ndarray:
    """[..., S], [..., A] -> [...]."""
    quadratic = lambda x, M: np.einsum('...i,ij,...j', x, M, x)
    return -(quadratic(s, self.W) + quadratic(a, self.R))

  def next_state(self, s: np.ndarray, a: np.ndarray, w: np.ndarray) -> np.ndarray:
    """[..., S], [..., A], [..., S] -> [..., S]."""
    return s @ self.A.T + a @ self.B.T + (self.d + a @ self.C.T) * w

  def value_matrix(self) -> np.ndarray:
    """H, [S + A + 1] squared: E[Z(s, a)] = x^T H x with x = [s ; a ; 1].

    Bellman's equation for quadratic forms: with V(s) = [s ; 1]^T P [s ; 1],
    [E s+ ; 1] = F x and noise of scale G x,

        H = -diag(W, R, 0) + gamma (F^T P F + sum_i P_ii G_i^T G_i),  P = L^T H L,

    where x = L [s ; 1] on the policy. A contraction, so it is iterated.
    """
    S, A = self.sizes
    last = np.eye(S + A + 1)[-1:]
    F = np.vstack([np.hstack([self.A, self.B, np.zeros([S, 1])]), last])
    G = np.hstack([np.zeros([S, S]), self.C, self.d[:, None]])
    L = np.zeros([S + A + 1, S + 1])
    L[:S, :S], L[S : S + A, :S], L[-1, -1] = np.eye(S), -self.K, 1.0
    cost = np.zeros([S + A + 1] * 2)
    cost[:S, :S], cost[S : S + A, S : S + A] = self.W, self.R
    H = np.zeros_like(cost)
    for _ in range(200):
      P = L.T @ H @ L
      H = -cost + self.discount * (F.T @ P @ F + G.T @ (np.diag(P)[:S, None] * G))
    return H

  def optimal_gain(self) -> np.ndarray:
    """K, [A, S], of the best policy a = -K s where the noise is additive (C = 0).

    Riccati's equation with a discount, iterated:

        K = gamma (R + gamma B^T P B)^-1 B^T P A,  P = W + gamma A^T P (A - B K).
    """
    if np.any(self.C):
      raise ValueError('With multiplicative noise the best policy is not linear.')
    P = np.zeros_like(self.W)
    for _ in range(500):
      curvature = self.R + self.discount * self.B.T @ P @ self.B
      K = self.discount * np.linalg.solve(curvature, self.B.T @ P @ self.A)
      P = self.W + self.discount * self.A.T @ P @ (self.A - self.B @ K)
    return K

  def mean_return(self, s: np.ndarray, a: np.ndarray) -> np.ndarray:
    """E[Z(s, a)]: [..., S], [..., A] -> [...]."""
    x = _homogeneous(s, a)
    return np.einsum('...i,ij,...j', x, self.value_matrix(), x)

  def mean_gradients(self, s: np.ndarray, a: np.ndarray):
    """dE[Z]/ds [..., S] and dE[Z]/da [..., A]."""
    S, A = self.sizes
    gradient = 2 * _homogeneous(s, a) @ self.value_matrix()
    return gradient[..., :S], gradient[..., S : S + A]

  def simulate(
    self, s: np.ndarray, a: np.ndarray, num_samples: int, seed: int, horizon: int = 40
  ) -> Samples:
    """Rolls out s [G, S], a [G, A] and carries the tangents along by hand.

    With the noise held fixed, T = ds_t/d(s_0, a_0) and U = da_t/d(s_0, a_0) follow

        T+ = A T + B U + diag(w) C U,  U+ = -K T+,
        dr = -2 (s^T W T + a^T R U).
    """
    rng = np.random.default_rng(seed)
    S, A = self.sizes
    shape = (len(s), num_samples)
    s = np.broadcast_to(s[:, None], [*shape, S])
    a = np.broadcast_to(a[:, None], [*shape, A])
    T = np.broadcast_to(np.eye(S + A)[:S], [*shape, S, S + A])
    U = np.broadcast_to(np.eye(S + A)[S:], [*shape, A, S + A])
    z, dz = np.zeros(shape), np.zeros([*shape, S + A])
    for t in range(horizon):
      weight = self.discount**t
      z = z + weight * self.reward(s, a)
      dr = ((s @ self.W)[..., None, :] @ T + (a @ self.R)[..., None, :] @ U)[..., 0, :]
      dz = dz - 2 * weight * dr
      w = rng.standard_normal([*shape, S])
      T = self.A @ T + (self.B + w[..., None] * self.C) @ U
      U = -self.K @ T
      s = self.next_state(s, a, w)
      a = self.policy(s)
    return Samples(z, dz[..., :S], dz[..., S:])


def wasserstein(x: np.ndarray, y: np.ndarray, num_quantiles: int = 200) -> np.ndarray:
  """W1 between one-dimensional sets of samples, [G, N] and [G, M]: [G].

  The mean distance of the quantile functions, at mid-points.
  """
  levels = (np.arange(num_quantiles) + 0.5) / num_quantiles
  quantiles = lambda v: np.quantile(v, levels, axis=-1)
  return np.mean(np.abs(quantiles(x) - quantiles(y)), axis=0)


def _homogeneous(s: np.ndarray, a: np.ndarray) -> np.ndarray:
  return np.concatenate([s, a, np.ones([*s.shape[:-1], 1])], axis=-1)
