"""The deterministic policy gradient."""

import tensorflow as tf

from acme_dsdpg.losses import sobolev


def policy_loss(
  policy: sobolev.Policy,
  critic: sobolev.Critic,
  observation: tf.Tensor,
  noise: tf.Tensor,
) -> tf.Tensor:
  """Returns -mean over batch and samples of Z_phi(s, pi_theta(s), xi) (Eq. 8).

  Args:
    policy: [B, S] -> [B, A].
    critic: see `losses.sobolev.Critic`.
    observation: [B, S] float.
    noise: [B, M, K] float.

  Returns:
    A scalar whose gradient in the policy's weights is minus Eq. 8's.
  """
  return -tf.reduce_mean(critic.samples(observation, policy(observation), noise))
