"""Sobolev returns of a critic that is linear in features of its noise.

    Z(s, a, xi) = sum_k phi_k(xi) h_k(s, a),  k = 0..K,  phi_0 = 1,  E phi_k = 0 for k > 0

Its derivatives and its Bellman target are linear in the same features. A Sobolev return
is therefore a matrix of coefficients, [1 + D, 1 + K]: a row for the return and one for
each of D directions that it is differentiated along. Its samples are products with phi,
its mean is the first column, exactly, and neither costs more for more samples.

Directions u_1..u_D of x = a or [s ; a] have sum_d E (u_d . g)^2 = |g|^2 for any
gradient g. Derivatives are taken forward, one pass a direction; whole gradients backward
where there are fewer coefficients than inputs.
"""

from typing import Optional, Protocol

import tensorflow as tf

from acme_dsdpg.losses import jacobians, sobolev


class LinearCritic(Protocol):
  """A critic linear in its K features, as `networks.FeatureCritic`."""

  num_features: int

  def coefficients(self, observation: tf.Tensor, action: tf.Tensor) -> tf.Tensor:
    """Maps observation [B, S] and action [B, A] to h, [B, 1 + K]; differentiable."""


def random_directions(
  seed: tf.Tensor, batch_size: int, num_directions: int, size: int, dtype: tf.DType
) -> tf.Tensor:
  """Draws directions, each uniform on the sphere of radius sqrt(size / num_directions).

  Args:
    seed: stateless, int [2].
    batch_size: B.
    num_directions: D.
    size: X, of what is differentiated by.
    dtype: float.

  Returns:
    [B, D, X].
  """
  shape = [batch_size, num_directions, size]
  normal = tf.random.stateless_normal(shape, seed, dtype=dtype)
  radius = (size / num_directions) ** 0.5
  return radius * normal / tf.norm(normal, axis=-1, keepdims=True)


def sobolev_coefficients(
  critic: LinearCritic,
  observation: tf.Tensor,
  action: tf.Tensor,
  directions: Optional[tf.Tensor],
  wrt: str,
) -> tf.Tensor:
  """Computes a critic's return and its derivatives, as coefficients.

  Args:
    critic: linear in K features.
    observation: [B, S] float.
    action: [B, A] float.
    directions: [B, D, X]; None for the whole gradient, D = X.
    wrt: 'none' for the return alone, D = 0; 'action' for x = a; 'state_action' for
      x = [s ; a].

  Returns:
    [B, 1 + D, 1 + K]; differentiable.
  """
  return _coefficients(
    critic.coefficients, observation, action, directions, wrt, 1 + critic.num_features
  )


def target_coefficients(
  model: sobolev.Model,
  policy: sobolev.Policy,
  critic: LinearCritic,
  observation: tf.Tensor,
  action: tf.Tensor,
  discount: tf.Tensor,
  directions: Optional[tf.Tensor] = None,
  wrt: str = 'none',
) -> tf.Tensor:
  """Computes the Sobolev Bellman target (Eqs. 15-18), as coefficients.

  With (R, s+) = model(s, a) and a+ = policy(s+): D h(s+, a+), and R more in the first
  coefficient; and the derivatives of that along the directions of x, by the chain rule
  through model, policy and critic.

  Args:
    model: differentiable model of the transition, its latent fixed.
    policy: the target policy.
    critic: the target critic, linear in K features.
    observation: [B, S] float.
    action: [B, A] float.
    discount: [B] float, D: gamma times the transition's own.
    directions: as in `sobolev_coefficients`.
    wrt: as there.

  Returns:
    [B, 1 + D, 1 + K], a constant: gradients do not flow through it.
  """

  def target(s, a):
    reward, next_observation = model(s, a)
    h = critic.coefficients(next_observation, policy(next_observation))
    first, others = tf.split(discount[:, tf.newaxis] * h, [1, h.shape[-1] - 1], axis=-1)
    return tf.concat([reward[:, tf.newaxis] + first, others], axis=-1)

  return tf.stop_gradient(
    _coefficients(target, observation, action, directions, wrt, 1 + critic.num_features)
  )


def _coefficients(function, observation, action, directions, wrt, size) -> tf.Tensor:
  sobolev.check_wrt(wrt)
  if wrt == 'none':
    return function(observation, action)[:, tf.newaxis]
  x = action if wrt == 'action' else tf.concat([observation, action], axis=-1)
  of_x = lambda x: function(*sobolev.split_inputs(x, observation, wrt))
  if directions is None:
    value, derivatives = jacobians.value_and_gradients(of_x, x, size)
  else:
    value, derivatives = jacobians.value_and_tangents(of_x, x, directions)
  return tf.concat([value[:, tf.newaxis], derivatives], axis=1)


def samples(coefficients: tf.Tensor, features: tf.Tensor) -> tf.Tensor:
  """Draws Sobolev samples [z ; u_1 . dz/dx ; ...] from coefficients.

  Args:
    coefficients: [B, 1 + D, 1 + K].
    features: phi [M, 1 + K], the same for all rows.

  Returns:
    [B, M, 1 + D].
  """
  return tf.einsum('mk,bdk->bmd', features, coefficients)


def weighted_squared_error(
  x: tf.Tensor, y: tf.Tensor, gradient_weight: tf.Tensor
) -> tf.Tensor:
  """Computes the squared error of mean return and mean gradient (Eq. 10, weighted).

  Args:
    x: coefficients [B, 1 + D, 1 + K].
    y: the target's.
    gradient_weight: [B], of each transition's gradient.

  Returns:
    [B].
  """
  squared = tf.math.squared_difference(x[..., 0], y[..., 0])
  return squared[:, 0] + gradient_weight * tf.reduce_sum(squared[:, 1:], axis=-1)


def weigh_gradients(samples: tf.Tensor, gradient_weight: tf.Tensor) -> tf.Tensor:
  """Multiplies the gradients of Sobolev samples by the root of their weights.

  In a kernel of squared distances their part then has that weight, as in
  `weighted_squared_error`; with 0 the transition teaches its return alone.

  Args:
    samples: [B, M, 1 + D].
    gradient_weight: [B], 0 or greater.
  """
  root = tf.sqrt(gradient_weight)[:, tf.newaxis, tf.newaxis]
  return tf.concat([samples[..., :1], root * samples[..., 1:]], axis=-1)
