"""The critic's loss, as a config describes it."""

from typing import Callable, Tuple

import tensorflow as tf

from acme_dsdpg import config as config_lib
from acme_dsdpg.losses import critic as critic_losses
from acme_dsdpg.losses import kernels, mmd

# (samples [B, M, D], target [B, N, D]) to [B].
Loss = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def make_critic_loss(
  config: config_lib.DSDPGConfig, observation_size: int, action_size: int
) -> Tuple[Loss, float]:
  """Makes the loss of one critic's Sobolev samples, and the scale to divide it by.

  Rectified Adam's first five steps are as long as the gradient, and the multiquadric's
  slope grows with h: undivided, they would wreck the initial weights.

  Args:
    config: the agent.
    observation_size: S.
    action_size: A.

  Returns:
    MMD^2 (Eqs. 19-22) or, of a point critic, the squared error (Eq. 10); and the factor
    between it and a squared error.
  """
  if config.critic == 'point':
    return (
      lambda samples, target: critic_losses.sobolev_squared_error(
        samples, target, config.sobolev_weight
      ),
      1.0,
    )
  kernel = make_kernel(config, observation_size, action_size)
  return (
    lambda samples, target: mmd.mmd2(samples, target, kernel, config.unbiased_mmd),
    max(config.multiquadric_h, config.linear_return_weight),
  )


def make_kernel(
  config: config_lib.DSDPGConfig, observation_size: int, action_size: int
) -> kernels.Kernel:
  """Makes the kernel on [z ; dz/ds ; dz/da], or on the part that is learned.

  The multiquadric with `gradient_scale` on the gradients, plus `linear_return_weight`
  times the product of the returns.
  """
  kernel = kernels.Multiquadric(config.multiquadric_h)
  state_size = observation_size if config.sobolev == 'state_action' else 0
  gradient_size = 0 if config.sobolev == 'none' else state_size + action_size
  if gradient_size and config.gradient_scale != 1.0:
    scales = (1.0, *[config.gradient_scale] * gradient_size)
    kernel = kernels.Scaled(kernel, scales)
  if not config.linear_return_weight:
    return kernel
  return_only = kernels.Scaled(kernels.Linear(), (1.0, *[0.0] * gradient_size))
  return kernels.Sum(((1.0, kernel), (config.linear_return_weight, return_only)))
