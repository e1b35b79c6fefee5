"""Acme's D4PG in this harness: what acts, and what it sees."""

from acme import specs
from acme.utils import counting
import numpy as np
import pytest
import reverb
import tensorflow as tf

from acme_dsdpg.agent import agents, builder, d4pg, presets
from tests.agent import windows

S, A, B = 3, 2, 8
SPEC = specs.EnvironmentSpec(
  observations=specs.Array((S,), np.float32),
  actions=specs.BoundedArray((A,), np.float32, -1.0, 1.0),
  rewards=specs.Array((), np.float32),
  discounts=specs.BoundedArray((), np.float32, 0.0, 1.0),
)


def _rows():
  return windows.draw(0, B, 5, S, A, discount=0.99).astype(np.float32)


def _observation():
  return _rows()[:, 0, :S]


def _learner(**overrides):
  config = presets.make_config({'agent': 'd4pg', 'batch_size': B, **overrides}).dsdpg
  made = agents.make_builder('d4pg', config)
  networks = made.make_networks(SPEC)
  info = reverb.SampleInfo(*[tf.zeros([B])] * len(reverb.SampleInfo._fields))
  sample = reverb.ReplaySample(info=info, data=_rows())
  batches = iter(tf.data.Dataset.from_tensors(sample).repeat())
  counter = counting.Counter()
  return networks, made.make_learner(SPEC, networks, batches, counter=counter), counter


def test_each_agent_has_its_builder():
  for agent in presets.AGENTS:
    made = agents.make_builder(agent, presets.make_config({'agent': agent}).dsdpg)
    kind = d4pg.D4PGBuilder if agent == 'd4pg' else builder.DSDPGBuilder
    assert type(made) is kind


@pytest.fixture(scope='module', name='trained', params=[False, True], ids=str)
def trained_learner(request):
  networks, learner, counter = _learner(
    normalize_observations=request.param, policy_learning_rate=1e-2
  )
  learner.step()
  return request.param, networks, learner, counter


def test_it_acts_by_the_online_policy(trained):
  _, networks, learner, _ = trained
  observation = _observation()
  seen = networks.normalizer(observation)
  acting = networks.make_acting_policy()(observation)
  np.testing.assert_array_equal(acting, networks.policy(seen))
  # The targets are Acme's: copied at the first step, then every hundred.
  assert np.max(np.abs(acting - networks.target_policy(seen))) > 1e-3
  (weights,) = learner.get_variables(['policy'])
  acting_weights = networks.make_acting_policy().variables
  assert all(map(np.array_equal, weights, acting_weights))
  assert len(weights) == len(networks.policy.variables) + 3


def test_it_sees_normalised_observations_only_if_asked(trained):
  normalized, networks, *_ = trained
  observation = _observation()
  seen = networks.normalizer(observation).numpy()
  if not normalized:
    np.testing.assert_array_equal(seen, observation)
    assert networks.normalizer.count == 0
    return
  assert networks.normalizer.count == 8 * B
  expected = (observation - observation.mean(0)) / observation.std(0)
  np.testing.assert_allclose(seen, expected, atol=1e-3)


def test_it_learns_from_what_it_sees():
  losses = []
  for normalized in (False, True):
    tf.random.set_seed(0)
    _, learner, _ = _learner(normalize_observations=normalized)
    learner.step()
    losses.append(float(learner._last.row['critic_loss']))
  assert abs(losses[0] - losses[1]) > 1e-4


def test_its_steps_are_counted_once_and_its_state_is_whole(trained):
  *_, learner, counter = trained
  assert counter.get_counts() == {'steps': 8}
  assert int(learner.state['num_steps']) == 8
  assert {'normalizer', 'policy_optimizer', 'target_critic_network'} <= set(learner.state)


def test_its_learning_rates_are_those_asked_for():
  _, learner, _ = _learner(policy_learning_rate=1e-2)
  optimizers = learner.state['policy_optimizer'], learner.state['critic_optimizer']
  assert [o.learning_rate for o in optimizers] == [1e-2, 1e-4]


def test_no_two_of_its_layers_start_alike():
  networks, *_ = _learner()
  assert [v.shape[0] for v in networks.policy.variables if v.shape.rank == 2][1:3] == [
    256
  ] * 2
  for network in (networks.policy, networks.critic):
    kernels = [v for v in network.variables if v.shape.rank == 2]
    for i, a in enumerate(kernels):
      for b in kernels[:i]:
        assert a.shape != b.shape or np.mean(a == b) < 0.01
    for kernel in kernels[:-1]:  # Uniform, of Acme's scale: the last is the head's.
      limit = np.sqrt(3 * 0.333 / kernel.shape[1])
      assert 0.9 * limit < np.max(np.abs(kernel)) <= limit
