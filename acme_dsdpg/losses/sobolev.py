"""Sobolev samples of a critic and their bootstrapped targets.

A Sobolev sample is `[z ; dz/ds ; dz/da]`, of which the state gradient, or both
gradients, may be left out (`wrt`). The target applies the chain rule at the next state,
so that the world model and the policy see B rows instead of the B * M of Algorithm 1;
tests/reference has the algorithm to the letter.
"""

from typing import Callable, Protocol, Tuple

import tensorflow as tf

from acme_dsdpg.losses import chunks, jacobians

Policy = Callable[[tf.Tensor], tf.Tensor]
# (observation [N, S], action [N, A]) -> (reward [N], next observation [N, S]),
# differentiable, with the latent noise held fixed in the callable.
Model = Callable[[tf.Tensor, tf.Tensor], Tuple[tf.Tensor, tf.Tensor]]

WRT = ('none', 'action', 'state_action')


class Critic(Protocol):
  """Samples of the return; `networks.Critic` and `networks.FeatureCritic` are some."""

  def samples(
    self, observation: tf.Tensor, action: tf.Tensor, noise: tf.Tensor
  ) -> tf.Tensor:
    """Draws [B, M] returns from observation [B, S], action [B, A], noise [B, M, K]."""

  def samples_and_gradients(
    self, observation: tf.Tensor, action: tf.Tensor, noise: tf.Tensor
  ) -> Tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Draws z [B, M] with dz/ds [B, M, S] and dz/da [B, M, A], all differentiable."""


def sobolev_samples(
  critic: Critic,
  observation: tf.Tensor,
  action: tf.Tensor,
  noise: tf.Tensor,
  wrt: str = 'action',
) -> tf.Tensor:
  """Draws samples of the Sobolev return, x = [z ; dz/ds ; dz/da] (Eq. 14; Sec. 3.2).

  Args:
    critic: M samples a pair.
    observation: [B, S] float.
    action: [B, A] float, same type.
    noise: [B, M, K] float, same type; K may be 0 (a point critic).
    wrt: 'none' for [z], 'action' for [z ; dz/da], or 'state_action'.

  Returns:
    [B, M, 1], [B, M, 1 + A] or [B, M, 1 + S + A]; differentiable.

  Raises:
    ValueError: an unknown `wrt`, or a critic that ignores an input.
  """
  check_wrt(wrt)
  if wrt == 'none':
    return critic.samples(observation, action, noise)[..., tf.newaxis]
  z, dz_ds, dz_da = critic.samples_and_gradients(observation, action, noise)
  blocks = [dz_da] if wrt == 'action' else [dz_ds, dz_da]
  return tf.concat([z[..., tf.newaxis], *blocks], axis=-1)


def sobolev_target(
  model: Model,
  policy: Policy,
  critic: Critic,
  observation: tf.Tensor,
  action: tf.Tensor,
  discount: tf.Tensor,
  noise: tf.Tensor,
  wrt: str = 'action',
) -> tf.Tensor:
  """Draws samples of the Sobolev Bellman target (Eqs. 15-18, 24; A.3).

  With (R, s+) = model(s, a), a+ = policy(s+) and z_i = critic(s+, a+, noise_i):

      y_i     = R + D z_i
      dy_i/dx = dR/dx + D ((ds+/dx)^T dz_i/ds+ + (da+/dx)^T dz_i/da+)

  for x = a or (s, a), so that model and policy see B rows. Their derivatives are taken
  forward, one pass for each input x, or backward, one for each sample, whichever are
  fewer. (Eq. 28 drops the discount: a slip.)

  Args:
    model: differentiable model of the transition, its latent fixed.
    policy: the target policy.
    critic: the target critic.
    observation: [B, S] float.
    action: [B, A] float.
    discount: [B] float, D: gamma times the transition's own discount; 0 ends
      the bootstrap.
    noise: [B, M, K] float.
    wrt: as in `sobolev_samples`.

  Returns:
    [B, M, 1 + ...], a constant: gradients do not flow through it.

  Raises:
    ValueError: an unknown `wrt`, or a critic that ignores an input.
  """
  check_wrt(wrt)
  state_size = observation.shape[-1]
  if wrt == 'none':
    reward, next_observation = model(observation, action)
    z = critic.samples(next_observation, policy(next_observation), noise)
    y = reward[:, tf.newaxis] + discount[:, tf.newaxis] * z
    return tf.stop_gradient(y[..., tf.newaxis])

  def outcome(x: tf.Tensor) -> tf.Tensor:
    s, a = split_inputs(x, observation, wrt)
    reward, next_observation = model(s, a)
    next_action = policy(next_observation)
    return tf.concat([tf.expand_dims(reward, -1), next_observation, next_action], -1)

  x = action if wrt == 'action' else tf.concat([observation, action], -1)
  if noise.shape[1] < x.shape[-1]:
    value, pull_back = jacobians.value_and_pull_back(outcome, x)
  else:
    value, jacobian = jacobians.value_and_jacobian(outcome, x)
    # [B, M, Y] times [B, X, Y] over the last axis.
    pull_back = lambda cotangents: tf.matmul(cotangents, jacobian, transpose_b=True)

  def bootstrap(value, discount, noise):
    reward, next_observation, next_action = tf.split(
      value, [1, state_size, value.shape[-1] - 1 - state_size], axis=-1
    )
    z, dz_ds, dz_da = critic.samples_and_gradients(next_observation, next_action, noise)
    discount = discount[:, tf.newaxis]
    y = reward + discount * z
    dz = discount[..., tf.newaxis] * tf.concat([dz_ds, dz_da], -1)
    return tf.concat([y[..., tf.newaxis], dz], axis=-1)

  # Dy/d[s+ ; a+] of every sample.
  size = chunks.chunk_size(*noise.shape[:2])
  y, dy_dnext = tf.split(
    chunks.map_chunks(bootstrap, (value, discount, noise), size),
    [1, value.shape[-1] - 1],
    axis=-1,
  )
  dy_dx = pull_back(tf.concat([tf.ones_like(y), dy_dnext], axis=-1))
  return tf.stop_gradient(tf.concat([y, dy_dx], axis=-1))


def anchored(model: Model, reward: tf.Tensor, next_observation: tf.Tensor) -> Model:
  """Returns `model` moved onto the observed outcome: its derivatives, their values.

  s~ = s^ + stop_gradient(s+ - s^), and the same for the reward, as SVG infers
  the noise so that its model reproduces the observed transition.

  Args:
    model: the differentiable model.
    reward: [B] float, observed.
    next_observation: [B, S] float, observed.
  """

  def model_at_observation(observation, action):
    r, s = model(observation, action)
    return (
      r + tf.stop_gradient(reward - r),
      s + tf.stop_gradient(next_observation - s),
    )

  return model_at_observation


def split_inputs(
  x: tf.Tensor, observation: tf.Tensor, wrt: str
) -> Tuple[tf.Tensor, tf.Tensor]:
  """Returns the observation [B, S] and action [B, A] that x = a or (s, a) stands for."""
  if wrt == 'action':
    return observation, x
  state_size = observation.shape[-1]
  return tuple(tf.split(x, [state_size, x.shape[-1] - state_size], axis=-1))


def check_wrt(wrt: str):
  """Raises ValueError unless `wrt` is one of `WRT`."""
  if wrt not in WRT:
    raise ValueError(f'wrt={wrt!r} is not valid: it must be one of {", ".join(WRT)}.')
