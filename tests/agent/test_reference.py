"""What the learner computes cheaply equals Algorithm 1 taken literally, in float64."""

from acme import specs, types
import numpy as np
import pytest
import tensorflow as tf

from acme_dsdpg import config as config_lib
from acme_dsdpg import networks as networks_lib
from acme_dsdpg.agent import adders as agent_adders
from acme_dsdpg.agent import learning, plain
from acme_dsdpg.losses import chunks

S, A, B = 5, 2, 6
SPEC = specs.EnvironmentSpec(
  observations=specs.Array((S,), np.float32),
  actions=specs.BoundedArray((A,), np.float32, -1.0, 1.0),
  rewards=specs.Array((), np.float32),
  discounts=specs.BoundedArray((), np.float32, 0.0, 1.0),
)
SMALL = dict(
  batch_size=B, num_samples=4, policy_num_samples=3, noise_dim=3,
  hidden_sizes=(7, 7), world_model_hidden_sizes=(6, 6),
)  # fmt: skip


def _transition():
  rng = np.random.default_rng(0)
  float64 = lambda *shape: tf.constant(rng.normal(size=shape))
  outcome = lambda: agent_adders.Outcome(
    float64(B), tf.constant(np.resize([0.0, 0.5, 1.0], B)), float64(B, S)
  )
  n_step = outcome()
  return types.Transition(
    observation=float64(B, S),
    action=tf.tanh(float64(B, A)),
    reward=n_step.reward,
    discount=n_step.discount,
    next_observation=n_step.next_observation,
    extras=outcome(),
  )


def _make(kind, config):
  online, target = (
    networks_lib.make_networks(SPEC, config, seed, tf.float64) for seed in (0, 1)
  )
  learner = kind(online, target.policy, target.critic, config, iter(()))
  rng = np.random.default_rng(1)
  for network in (online.policy, target.policy, target.critic, online.world_model):
    # Policies start near zero, where much vanishes; biases and norms at 0 or 1.
    for variable in network.variables if network else ():
      variable.assign_add(0.3 * rng.normal(size=variable.shape))
  return learner


def _stages(learner):
  """Target, then gradients and metrics of each network, as a list of arrays each."""

  @tf.function(autograph=False)
  def run():
    seeds, batch = learner._draw_seeds(), learner._prepare(_transition())
    target = learner._bellman_target(batch, seeds)
    return {
      'target': target,
      'critic': learner._critic_gradients(batch, target, seeds.critic),
      'policy': learner._policy_gradients(batch, seeds.policy),
    }

  return {k: [x.numpy() for x in tf.nest.flatten(v)] for k, v in run().items()}


# Two states at a time; the whole batch at once.
@pytest.mark.parametrize(
  ('rows', 'layer_norm', 'overrides'),
  [
    *((2, True, {'agent': agent}) for agent in config_lib.PRESETS),
    (B, False, {'agent': 'dsdpg', 'unbiased_mmd': True}),
    (B, False, {'agent': 'ddpg'}),
    # A residual of the input, noise and all: 5 + 2 + 3 wide.
    (2, False, {'agent': 'dsdpg_state_action', 'hidden_sizes': (10, 10)}),
    (B, True, {'targets': 'anchored'}),
    (2, True, {'normalize_outcomes': True}),
    (2, True, {'num_critics': 2, 'num_dropped_samples': 3}),
    (B, False, {'agent': 'dsdpg_state_action', 'num_critics': 3}),
    (B, True, {'agent': 'sobolev_ddpg', 'num_critics': 2, 'num_dropped_samples': 1}),
    (2, True, {'max_sobolev_ratio': 0.01, 'return_kernel_weight': 1.0}),
    (2, True, {'agent': 'sobolev_ddpg', 'max_sobolev_ratio': 0.01}),
  ],
  ids=str,
)
def test_losses_and_gradients_equal_the_plain_form(
  overrides, layer_norm, rows, monkeypatch
):
  config = config_lib.make_config({**SMALL, 'layer_norm': layer_norm, **overrides}).dsdpg
  num_samples = config.num_critics * config.samples_per_critic
  monkeypatch.setattr(chunks, 'MAX_ROWS', rows * num_samples)
  assert chunks.chunk_size(B, num_samples) == min(B, rows)
  expected = _stages(_make(plain.PlainLearner, config))
  actual = _stages(_make(learning.DSDPGLearner, config))
  assert expected.keys() == actual.keys()
  for name, arrays in expected.items():
    for x, y in zip(arrays, actual[name]):
      scale = np.max(np.abs(x))
      np.testing.assert_allclose(y, x, rtol=0, atol=1e-8 * scale, err_msg=name)


def test_a_gpu_is_given_the_whole_batch(monkeypatch):
  monkeypatch.setattr(chunks.tf.config, 'list_physical_devices', lambda kind: [kind])
  assert chunks.chunk_size(256, 50) == 256


def test_chunks_are_the_largest_divisor_within_the_rows():
  assert chunks.MAX_ROWS == 800
  assert chunks.chunk_size(256, 50) == 16
  assert chunks.chunk_size(64, 10) == 64
  assert chunks.chunk_size(60, 30) == 20
  # A prime number of states would be taken one by one.
  assert chunks.chunk_size(67, 50) == 67


@pytest.mark.parametrize('size', [1, 2, 6])
def test_map_chunks_equals_the_function_on_the_whole(size):
  x, y = tf.random.normal([6, 3]), tf.random.normal([6])
  function = lambda a, b: a[:, :2] * b[:, tf.newaxis]
  expected = function(x, y)
  np.testing.assert_array_equal(chunks.map_chunks(function, (x, y), size), expected)


@pytest.mark.parametrize('size', [1, 2, 6])
def test_mean_over_chunks_is_the_mean_over_all_rows(size):
  x = tf.random.normal([6, 3], dtype=tf.float64)
  function = lambda a: {'mean': tf.reduce_mean(a), 'columns': [tf.reduce_mean(a, 0)]}
  actual = chunks.mean_over_chunks(function, (x,), size)
  np.testing.assert_allclose(actual['mean'], np.mean(x), rtol=1e-12)
  np.testing.assert_allclose(actual['columns'][0], np.mean(x, 0), rtol=1e-12)
