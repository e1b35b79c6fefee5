"""The deterministic policy gradient, and what keeps the policy from its bounds."""

import tensorflow as tf

from acme_dsdpg.losses import sobolev


def policy_loss(
  policy: sobolev.Policy,
  critic: sobolev.Critic,
  observation: tf.Tensor,
  noise: tf.Tensor,
) -> tf.Tensor:
  """-mean over batch and samples of Z_phi(s, pi_theta(s), xi) (Eq. 8).

  Args:
    policy: [B, S] -> [B, A].
    critic: see `losses.sobolev`.
    observation: [B, S] float.
    noise: [B, M, K] float.

  Returns:
    A scalar whose gradient in the policy's weights is minus Eq. 8's.
  """
  action = policy(observation)
  z = sobolev.sobolev_samples(critic, observation, action, noise, wrt='none')
  return -tf.reduce_mean(z)


def pre_activation_penalty(pre_activation: tf.Tensor) -> tf.Tensor:
  """The squared norm of what the policy's tanh is given, mean over the batch.

  An optimizer that divides by the gradient's size follows a slope of any size, so that
  where returns hardly depend on the action the policy runs to its bounds all the same,
  and there its gradient vanishes. Against a penalty of fixed weight such slopes lose.

  Args:
    pre_activation: [B, A] float.

  Returns:
    A scalar.
  """
  return tf.reduce_mean(tf.reduce_sum(tf.square(pre_activation), axis=-1))
