"""The critic's loss and kernel from the config."""

import numpy as np
import pytest
import tensorflow as tf

from acme_dsdpg import config as config_lib
from acme_dsdpg.agent import critic_loss, presets
from acme_dsdpg.losses import kernels
from tests.oracles import kernels as oracle_kernels
from tests.oracles import mmd as oracle_mmd
from tests.oracles import sobolev as oracle_sobolev

S, A = 5, 2
SIZES = {'none': 0, 'action': A, 'state_action': S + A}


@pytest.mark.parametrize('sobolev', config_lib.SOBOLEV)
def test_the_kernel_has_the_configs_weight_and_scale(sobolev):
  config = config_lib.DSDPGConfig(
    sobolev=sobolev,
    targets='reconstructed',
    multiquadric_h=3.0,
    linear_return_weight=7.0,
    gradient_scale=0.5,
  )
  multiquadric = lambda x, y: oracle_kernels.multiquadric(x, y, 3.0)
  scales = [1.0, *[0.5] * SIZES[sobolev]]
  x, y = np.random.default_rng(0).normal(size=(2, len(scales)))
  expected = oracle_kernels.scaled(multiquadric, scales)(x, y) + 7.0 * x[0] * y[0]
  kernel = critic_loss.make_kernel(config, S, A)
  actual = kernel(tf.constant(x), tf.constant(y))
  np.testing.assert_allclose(actual, expected, rtol=1e-12)


@pytest.mark.parametrize('agent', ['dsdpg', 'dsdpg_state_action', 'ddpg_mmd'])
def test_the_papers_kernel_is_the_plain_multiquadric(agent):
  config = presets.make_config({'agent': agent}).dsdpg
  assert critic_loss.make_kernel(config, S, A) == kernels.Multiquadric(100.0)


@pytest.mark.parametrize('unbiased', [False, True])
def test_the_loss_of_samples_is_the_oracles_mmd(unbiased):
  config = config_lib.DSDPGConfig(
    multiquadric_h=2.0, gradient_scale=1.0, linear_return_weight=0.0,
    unbiased_mmd=unbiased,
  )  # fmt: skip
  rng = np.random.default_rng(1)
  x, y = rng.normal(size=(3, 4, 1 + S + A)), rng.normal(size=(3, 5, 1 + S + A))
  kernel = lambda u, v: oracle_kernels.multiquadric(u, v, 2.0)
  expected = [oracle_mmd.mmd2(a, b, kernel, unbiased) for a, b in zip(x, y)]
  loss, _ = critic_loss.make_critic_loss(config, S, A)
  np.testing.assert_allclose(loss(tf.constant(x), tf.constant(y)), expected, rtol=1e-9)


def test_the_loss_of_a_point_is_the_oracles_squared_error():
  config = presets.make_config({'agent': 'sobolev_ddpg', 'sobolev_weight': 0.3}).dsdpg
  x, y = np.random.default_rng(2).normal(size=(2, 3, 1, 1 + A))
  expected = [oracle_sobolev.squared_error(a, b, 0.3) for a, b in zip(x, y)]
  loss, scale = critic_loss.make_critic_loss(config, S, A)
  np.testing.assert_allclose(loss(tf.constant(x), tf.constant(y)), expected, rtol=1e-12)
  assert scale == 1.0


@pytest.mark.parametrize(('h', 'weight', 'scale'), [(100.0, 3.0, 100.0), (2.0, 5.0, 5.0)])
def test_the_scale_is_the_largest_slope(h, weight, scale):
  config = config_lib.DSDPGConfig(multiquadric_h=h, linear_return_weight=weight)
  assert critic_loss.make_critic_loss(config, S, A)[1] == scale
