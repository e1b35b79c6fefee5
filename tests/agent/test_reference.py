"""The learner computes cheaply what a reference says to the letter, in float64."""

from acme import specs
import numpy as np
import pytest
import tensorflow as tf

from acme_dsdpg import networks as networks_lib
from acme_dsdpg.agent import learning, objective, presets
from acme_dsdpg.losses import chunks, directional
from tests.agent import windows
from tests.reference import algorithm1, linear_critic

S, A, B = 5, 2, 6
SPEC = specs.EnvironmentSpec(
  observations=specs.Array((S,), np.float32),
  actions=specs.BoundedArray((A,), np.float32, -1.0, 1.0),
  rewards=specs.Array((), np.float32),
  discounts=specs.BoundedArray((), np.float32, 0.0, 1.0),
)
SMALL = dict(
  batch_size=B, num_samples=4, noise_dim=3, num_features=3, hidden_sizes=(7, 7),
  world_model_hidden_sizes=(6, 6), layer_norm=True,
)  # fmt: skip


def _make(config):
  online, target = (
    networks_lib.make_networks(SPEC, config, seed, tf.float64) for seed in (0, 1)
  )
  target.critic = networks_lib.make_critic(
    SPEC, config, online.world_model, 1, tf.float64
  )
  learner = learning.DSDPGLearner(online, target.policy, target.critic, config, iter(()))
  rng = np.random.default_rng(1)
  for network in (online.policy, target.policy, target.critic, online.world_model):
    # Policies start near zero, where much vanishes; biases and norms at 0 or 1.
    for variable in network.variables if network else ():
      variable.assign_add(0.3 * rng.normal(size=variable.shape))
  return learner, online, target


def _switches(**switches):
  """A variant of the agent of features, whatever the default agent is."""
  base = dict(
    critic='features', predictive_critic=False, sobolev='action', targets='anchored',
    world_model='mean', trust='mean', num_directions=1, sobolev_weight=1.0,
  )  # fmt: skip
  return {**base, **switches}


FEATURES = [
  _switches(trust='none'),
  _switches(sobolev_weight=0.0),
  _switches(sobolev='state_action', num_directions=2),
  # Forward, as there are more features than inputs; backward, as there are fewer.
  _switches(num_directions=0, sobolev_weight=0.3, layer_norm=False),
  _switches(num_directions=0, sobolev='state_action', world_model='residual_cvae'),
  _switches(world_model='residual_cvae', trust='reconstruction'),
  _switches(world_model='cvae', trust='reconstruction', multiquadric_h=3.0),
  _switches(world_model='residual_cvae', targets='reconstructed', num_directions=2),
  _switches(targets='observed', sobolev='none'),
  _switches(critic='point', sobolev='state_action'),
  _switches(predictive_critic=True),
  _switches(predictive_critic=True, num_directions=0, trust='none'),
  _switches(predictive_critic=True, world_model='residual_cvae', trust='reconstruction'),
  _switches(predictive_critic=True, critic='point', sobolev='state_action'),
  _switches(predictive_critic=True, targets='observed', sobolev='none'),
]
SAMPLES = [
  {'agent': 'ddpg_mmd', 'unbiased_mmd': True, 'layer_norm': False},
  # A residual of the input, noise and all: 5 + 2 + 3 wide.
  {'agent': 'dsdpg_state_action', 'hidden_sizes': (10, 10), 'layer_norm': False},
  _switches(critic='samples', world_model='residual_cvae', sobolev='state_action'),
]


def _explained(batch, model, config):
  """The batch, with first steps that the model explains, if it is random, in part."""
  if config.targets != 'anchored':
    return batch
  latent = tf.zeros([B, model.latent_size], tf.float64)
  _, predicted = model.decode(batch.observation, batch.action, latent)
  noise = tf.constant(np.random.default_rng(2).normal(size=(B, S)))
  outcome = batch.model_outcome._replace(next_observation=predicted + 0.3 * noise)
  return batch._replace(model_outcome=outcome)


def _noise_of_posterior(model, batch, seed):
  """The standard normal noise that a posterior's sample is made of, [B, L]."""
  if model is None:
    return tf.zeros([B, 0], tf.float64)
  outcome = batch.model_outcome
  posterior = model.encode(
    batch.observation, batch.action, outcome.reward, outcome.next_observation
  )
  return (posterior.sample(seed=seed) - posterior.mean()) / posterior.stddev()


@pytest.mark.parametrize(
  'overrides',
  [*({'agent': a} for a in presets.PRESETS if a != 'dsdpg'), *SAMPLES, *FEATURES],
  ids=lambda overrides: '-'.join(map(str, overrides.values())),
)
def test_losses_and_gradients_are_the_references(overrides):
  _check(overrides)


@pytest.mark.parametrize('agent', ['ddpg_mmd', 'dsdpg'])
def test_they_are_where_two_states_are_taken_at_a_time(agent, monkeypatch):
  monkeypatch.setattr(chunks, 'MAX_ROWS', 2 * SMALL['num_samples'])
  assert chunks.chunk_size(B, SMALL['num_samples']) == 2
  _check({'agent': agent})


def _check(overrides):
  config = presets.make_config({**SMALL, **overrides}).dsdpg
  learner, online, target = _make(config)
  rows = tf.constant(windows.draw(0, B, 2, S, A, config.discount))
  batch = learner._prepare(learner._window(rows))
  batch = _explained(batch, online.world_model, config)
  numbers = range(len(objective.Seeds._fields))
  seeds = objective.Seeds(*(tf.constant([0, i]) for i in numbers))
  is_sampled = config.critic == 'samples'

  def actual():
    made = learner._objective.bellman_target(batch, seeds)
    scale = config.multiquadric_h if is_sampled else 1.0
    critic = learner._objective.critic_update(batch, made, seeds)
    policy = learner._objective.policy_update(batch, seeds)
    result = {
      'critic_loss': critic.metrics['critic_loss'],
      'critic': [scale * gradient for gradient in critic.gradients],
      'policy_loss': policy.metrics['policy_loss'],
      'policy': policy.gradients,
    }
    if is_sampled:
      result['target'] = made
    else:
      result.update(target=made.coefficients, trust=made.trust)
      if config.targets == 'anchored':
        result['mean_trust'] = critic.metrics['trust']
    if online.world_model is not None:
      model = learner._world_model_update(batch, seeds.model)
      result['world_model_loss'] = model.metrics['world_model_loss']
      result['world_model'] = model.gradients
    return result

  def expected():
    model, directions = online.world_model, None
    latent = tf.zeros([B, 0], tf.float64)
    if model is not None:
      latent = objective.infer_latent(model, batch, seeds.latent)
    draw = lambda seed: online.critic.draw_noise(seed, B, config.num_samples)
    if not is_sampled and config.num_directions and config.sobolev != 'none':
      size = A if config.sobolev == 'action' else S + A
      directions = directional.random_directions(
        seeds.directions, B, config.num_directions, size, tf.float64
      )
    draws = algorithm1.Draws(
      _noise_of_posterior(model, batch, seeds.model),
      latent,
      *(draw(seed) for seed in (seeds.target, seeds.critic, seeds.policy)),
      directions,
    )
    reference = algorithm1 if is_sampled else linear_critic
    result = reference.stages(online, target.policy, target.critic, config, batch, draws)
    if 'trust' in result and config.targets == 'anchored':
      result['mean_trust'] = np.mean(result['trust'])
    return result

  computed, wanted = actual(), expected()
  assert computed.keys() == wanted.keys()
  for name, value in wanted.items():
    pairs = list(
      zip(tf.nest.flatten(value), tf.nest.flatten(computed[name]), strict=True)
    )
    for x, y in pairs:
      assert x.shape == y.shape
      np.testing.assert_allclose(
        y, x, rtol=0, atol=1e-8 * np.max(np.abs(x)), err_msg=name
      )
  # What is compared is not zero.
  if 'trust' in wanted and config.trust != 'none' and config.targets == 'anchored':
    assert np.count_nonzero(wanted['trust']) > B // 2
