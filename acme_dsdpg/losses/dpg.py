"""The deterministic policy gradient."""

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
