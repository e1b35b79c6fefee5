"""The kernel that a config describes: its weights and scales, block by block."""

from typing import List

from acme_dsdpg import config as config_lib
from acme_dsdpg.losses import kernels


def loss_scale(config: config_lib.DSDPGConfig) -> float:
  """What brings the critic's loss to the size of a squared error.

  The largest of h, which bounds the multiquadric's slope, times its weight, and the
  linear kernels' weights. Other kernels are left as they are.
  """
  if config.critic == 'point':
    return 1.0
  slope = config.multiquadric_h if config.kernel == 'multiquadric' else 1.0
  weights = [config.linear_return_weight]
  if config.sobolev != 'none':
    weights += [slope * config.return_kernel_weight, config.linear_gradient_weight]
  return max(slope, *weights)


def make_kernels(
  config: config_lib.DSDPGConfig, observation_size: int, action_size: int
) -> List[kernels.Kernel]:
  """The config's kernel on [z ; dz/ds ; dz/da] (or what of it is learned).

  One kernel; with `max_sobolev_ratio` two that add up to it, the first of which is on
  the return alone.

  Args:
    config: the agent.
    observation_size: S.
    action_size: A.
  """
  base = {
    'multiquadric': lambda: kernels.Multiquadric(config.multiquadric_h),
    'rbf': lambda: kernels.RBF(config.rbf_bandwidths),
    'rational_quadratic': lambda: kernels.RationalQuadratic(
      config.rational_quadratic_alpha
    ),
    'linear': kernels.Linear,
  }[config.kernel]()
  sizes = {
    'none': [1],
    'action': [1, action_size],
    'state_action': [1, observation_size, action_size],
  }[config.sobolev]

  def on_blocks(kernel, of_return, of_state, of_action):
    by_block = {
      'none': [of_return],
      'action': [of_return, of_action],
      'state_action': [of_return, of_state, of_action],
    }[config.sobolev]
    if all(scale == 1.0 for scale in by_block):
      return kernel
    return kernels.Scaled(kernel, kernels.block_scales(sizes, by_block))

  joint = on_blocks(base, 1.0, config.state_gradient_scale, config.action_gradient_scale)
  linear = kernels.Linear()
  of_sample = [
    (1.0, joint),
    (config.linear_gradient_weight, on_blocks(linear, 0.0, 1.0, 1.0)),
  ]
  of_return = [
    (config.return_kernel_weight, on_blocks(base, 1.0, 0.0, 0.0)),
    (config.linear_return_weight, on_blocks(linear, 1.0, 0.0, 0.0)),
  ]
  if config.sobolev == 'none':  # One kernel only, and the linear one on the return.
    of_sample, of_return = of_sample[:1], of_return[1:]

  def add(terms):
    terms = tuple((weight, kernel) for weight, kernel in terms if weight)
    return kernels.Sum(terms) if terms != ((1.0, joint),) else joint

  return (
    [add(of_return), add(of_sample)]
    if config.max_sobolev_ratio
    else [add(of_sample + of_return)]
  )
