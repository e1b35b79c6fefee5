"""The learner computes cheaply what Algorithm 1 says to the letter, in float64."""

from acme import specs
import numpy as np
import pytest
import tensorflow as tf

from acme_dsdpg import networks as networks_lib
from acme_dsdpg.agent import critic_loss, learning, presets
from acme_dsdpg.losses import chunks
from tests.agent import windows
from tests.reference import algorithm1

S, A, B = 5, 2, 6
SPEC = specs.EnvironmentSpec(
  observations=specs.Array((S,), np.float32),
  actions=specs.BoundedArray((A,), np.float32, -1.0, 1.0),
  rewards=specs.Array((), np.float32),
  discounts=specs.BoundedArray((), np.float32, 0.0, 1.0),
)
SMALL = dict(
  batch_size=B, num_samples=4, noise_dim=3, hidden_sizes=(7, 7),
  world_model_hidden_sizes=(6, 6),
)  # fmt: skip


def _make(config):
  online, target = (
    networks_lib.make_networks(SPEC, config, seed, tf.float64) for seed in (0, 1)
  )
  learner = learning.DSDPGLearner(online, target.policy, target.critic, config, iter(()))
  rng = np.random.default_rng(1)
  for network in (online.policy, target.policy, target.critic, online.world_model):
    # Policies start near zero, where much vanishes; biases and norms at 0 or 1.
    for variable in network.variables if network else ():
      variable.assign_add(0.3 * rng.normal(size=variable.shape))
  return learner, online, target


# Two states at a time; the whole batch at once.
@pytest.mark.parametrize(
  ('rows', 'layer_norm', 'overrides'),
  [
    *((B, True, {'agent': agent}) for agent in presets.PRESETS),
    *((2, True, {'agent': agent}) for agent in ('ddpg', 'dsdpg', 'dsdpg_anchored')),
    (B, False, {'agent': 'dsdpg', 'unbiased_mmd': True}),
    # A residual of the input, noise and all: 5 + 2 + 3 wide.
    (2, False, {'agent': 'dsdpg_state_action', 'hidden_sizes': (10, 10)}),
    (2, True, {'num_critics': 2}),
    (B, False, {'agent': 'sobolev_ddpg', 'num_critics': 3, 'sobolev_weight': 0.5}),
  ],
  ids=str,
)
def test_losses_and_gradients_are_algorithm_1s(overrides, layer_norm, rows, monkeypatch):
  config = presets.make_config({**SMALL, 'layer_norm': layer_norm, **overrides}).dsdpg
  num_samples = config.num_critics * config.samples_per_critic
  monkeypatch.setattr(chunks, 'MAX_ROWS', rows * num_samples)
  assert chunks.chunk_size(B, num_samples) == min(B, rows)
  learner, online, target = _make(config)
  rows = tf.constant(windows.draw(0, B, 2, S, A, config.discount))
  batch = learner._prepare(learner._window(rows))
  seeds = learning.Seeds(*(tf.constant([0, i]) for i in range(5)))
  _, scale = critic_loss.make_critic_loss(config, S, A)

  def actual():
    samples = learner._bellman_target(batch, seeds)
    critic = learner._critic_update(batch, samples, seeds.critic)
    policy = learner._policy_update(batch, seeds.policy)
    return {
      'target': samples,
      'critic_loss': critic.metrics['critic_loss'],
      'critic': [scale * gradient for gradient in critic.gradients],
      'policy_loss': policy.metrics['policy_loss'],
      'policy': policy.gradients,
    }

  def expected():
    latent = tf.zeros([B, 0], tf.float64)
    if online.world_model is not None:
      latent = learner._posterior(batch).sample(seed=seeds.latent)
    draws = algorithm1.Draws(latent, *(learner._noise(batch, seed) for seed in seeds[2:]))
    return algorithm1.stages(online, target.policy, target.critic, config, batch, draws)

  computed = actual()
  for name, value in expected().items():
    for x, y in zip(tf.nest.flatten(value), tf.nest.flatten(computed[name])):
      scale_of_x = np.max(np.abs(x))
      np.testing.assert_allclose(y, x, rtol=0, atol=1e-8 * scale_of_x, err_msg=name)
