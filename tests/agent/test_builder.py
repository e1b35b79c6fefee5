"""The builder with a real Reverb server and Acme's own loops."""

import gc

import acme
from acme import specs
from acme.agents import agent as acme_agent
from acme.testing import fakes
from acme.utils import counting, loggers
import dm_env
import numpy as np
import pytest
import reverb

from acme_dsdpg import environments
from acme_dsdpg.agent import builder as builder_lib
from acme_dsdpg.agent import presets

SMALL = dict(
  hidden_sizes=(16, 16),
  world_model_hidden_sizes=(16, 16, 16),
  num_samples=3,
  noise_dim=2,
  batch_size=8,
  min_replay_size=20,
  jit_compile=False,
)


def make_builder(**overrides):
  return builder_lib.DSDPGBuilder(presets.make_config({**SMALL, **overrides}).dsdpg)


def _make_actor(builder, spec, policy, client):
  """An actor that does not explore, and writes."""
  greedy = builder.make_behavior_policy(spec, policy)
  return builder.make_actor(greedy, policy, builder.make_adder(client))


@pytest.fixture(name='serve')
def serve_tables():
  """Serves tables; a client of theirs."""
  servers = []

  def serve(tables):
    servers.append(reverb.Server(tables))
    return reverb.Client(f'localhost:{servers[-1].port}')

  yield serve
  gc.collect()  # Writers end before their server: later they would wait for it.


def make_fake():
  return environments.wrap(
    fakes.ContinuousEnvironment(
      action_dim=2, observation_dim=3, bounded=True, episode_length=10
    )
  )


class Counting(dm_env.Environment):
  """Observation t, reward t + 1; ends after `length` steps in either way."""

  def __init__(self, length, terminates):
    self._length, self._terminates = length, terminates

  def observation_spec(self):
    return specs.Array((1,), np.float32)

  def action_spec(self):
    return specs.BoundedArray((1,), np.float32, -1.0, 1.0)

  def reset(self):
    self._t = 0
    return dm_env.restart(np.zeros(1, np.float32))

  def step(self, action):
    del action
    self._t += 1
    observation = np.full(1, self._t, np.float32)
    if self._t < self._length:
      return dm_env.transition(float(self._t), observation)
    if self._terminates:
      return dm_env.termination(float(self._t), observation)
    return dm_env.truncation(float(self._t), observation)


def expected_transitions(length, terminates, n_step, gamma):
  """Loops over a hand-written episode: {(s, s+): (N-step return, total discount)}.

  Windows grow to n_step at the start and shrink at the end (Acme's adder); the
  learner's discount is gamma^n, or 0 where the episode has terminated.
  """
  result = {}
  for start in range(length):
    for end in range(start + 1, length + 1):
      n = end - start
      full = n == n_step
      if not (full or (start == 0 and n < n_step) or (end == length and n < n_step)):
        continue
      reward = sum(gamma**i * (start + i + 1) for i in range(n))
      discount = 0.0 if terminates and end == length else gamma**n
      result[start, end] = (reward, discount)
  return result


@pytest.mark.parametrize('terminates', [True, False])
def test_n_step_returns_and_discounts_of_a_hand_written_episode(terminates, serve):
  length, n_step, gamma = 6, 3, 0.5
  environment = environments.wrap(Counting(length, terminates))
  spec = specs.make_environment_spec(environment)
  builder = make_builder(
    agent='ddpg', n_step=n_step, discount=gamma,
    normalize_observations=False,
  )  # fmt: skip
  client = serve(builder.make_replay_tables(spec, limit_rate=False))
  networks = builder.make_networks(spec)
  policy = networks.make_acting_policy()
  actor = _make_actor(builder, spec, policy, client)
  acme.EnvironmentLoop(environment, actor, logger=loggers.NoOpLogger()).run_episode()
  expected = expected_transitions(length, terminates, n_step, gamma)
  iterator = builder.make_dataset_iterator(client)
  learner = builder.make_learner(spec, networks, iterator)
  seen = {}
  for _ in range(40):
    # What the learner computes with, its own gamma included.
    batch = learner._prepare(learner._window(next(iterator).data[0]))
    for s, e, r, d in zip(
      batch.observation[:, 0],
      batch.outcome.next_observation[:, 0],
      batch.outcome.reward,
      batch.outcome.discount,
    ):
      seen[int(s), int(e)] = (float(r), float(d))
  assert client.server_info()['priority_table'].current_size == len(expected)
  assert seen.keys() == expected.keys()
  for key, value in expected.items():
    np.testing.assert_allclose(seen[key], value, rtol=1e-6)


@pytest.mark.parametrize('terminates', [True, False])
def test_a_one_step_model_is_given_the_first_step_beside_the_n(terminates, serve):
  length, gamma = 6, 0.5
  environment = environments.wrap(Counting(length, terminates))
  spec = specs.make_environment_spec(environment)
  builder = make_builder(
    agent='dsdpg_anchored', n_step=3, discount=gamma,
    normalize_observations=False,
  )  # fmt: skip
  client = serve(builder.make_replay_tables(spec, limit_rate=False))
  networks = builder.make_networks(spec)
  policy = networks.make_acting_policy()
  actor = _make_actor(builder, spec, policy, client)
  acme.EnvironmentLoop(environment, actor, logger=loggers.NoOpLogger()).run_episode()
  iterator = builder.make_dataset_iterator(client)
  learner = builder.make_learner(spec, networks, iterator)
  seen, expected = set(), expected_transitions(length, terminates, 3, gamma)
  for _ in range(40):
    batch = learner._prepare(learner._window(next(iterator).data[0]))
    first = batch.model_outcome
    rows = zip(
      batch.observation[:, 0],
      first.next_observation[:, 0],
      first.reward,
      first.discount,
      batch.outcome.next_observation[:, 0],
      batch.outcome.reward,
      batch.outcome.discount,
    )
    for start, next_start, reward, discount, end, n_step_reward, n_step_discount in rows:
      t = int(start)
      seen.add(t)
      assert int(next_start) == t + 1
      assert float(reward) == t + 1
      ended = terminates and t == length - 1
      assert float(discount) == (0.0 if ended else gamma)
      np.testing.assert_allclose(
        (n_step_reward, n_step_discount), expected[t, int(end)], rtol=1e-6
      )
  assert seen == set(range(length))


def test_drops_into_a_program_of_acmes_pieces(serve):
  """Acme's own Agent and EnvironmentLoop around our parts, on Acme's fake."""
  environment = make_fake()
  spec = specs.make_environment_spec(environment)
  builder = make_builder()
  client = serve(builder.make_replay_tables(spec, limit_rate=False))
  networks = builder.make_networks(spec)
  counter = counting.Counter()
  learner = builder.make_learner(
    spec, networks, builder.make_dataset_iterator(client), counter=counter
  )
  acting = builder.make_networks(spec, seed=9).make_acting_policy()
  acting(np.zeros((1, 3), np.float32))
  actor = builder.make_actor(
    builder.make_behavior_policy(spec, acting, seed=0),
    acting,
    builder.make_adder(client),
    learner,
  )
  # A variable source was given, so the actor starts with the learner's weights.
  ours = networks.make_acting_policy()
  for a, b in zip(acting.variables, ours.variables):
    np.testing.assert_array_equal(a.numpy(), b.numpy())
  before = [v.numpy() for v in networks.policy.trainable_variables]
  agent = acme_agent.Agent(actor, learner, min_observations=25, observations_per_step=5)
  loop = acme.EnvironmentLoop(environment, agent, logger=loggers.NoOpLogger())
  loop.run(num_episodes=5)
  assert counter.get_counts()['steps'] > 0
  after = [v.numpy() for v in networks.policy.trainable_variables]
  assert any(np.any(a != b) for a, b in zip(before, after))
  actor.update(wait=True)


def test_the_target_critic_sees_the_online_world_models_prediction():
  spec = specs.make_environment_spec(make_fake())
  builder = make_builder()
  networks = builder.make_networks(spec)
  target = builder.make_learner(spec, networks, iter(())).state['target_critic']
  inputs = np.ones([1, 3], np.float32), np.ones([1, *spec.actions.shape], np.float32)
  np.testing.assert_allclose(target(*inputs), networks.critic(*inputs), rtol=1e-6)
  before = target(*inputs)
  networks.world_model._mean.variables[-1].assign_add([1.0] * 4)
  assert np.max(np.abs(target(*inputs) - before)) > 1e-3
  np.testing.assert_allclose(target(*inputs), networks.critic(*inputs), rtol=1e-6)


def test_variable_client_follows_the_learner():
  spec = specs.make_environment_spec(make_fake())
  builder = make_builder(agent='ddpg', variable_update_period=1)
  networks = builder.make_networks(spec)
  learner = builder.make_learner(spec, networks, iter(()))
  policy = builder.make_networks(spec, seed=5).make_acting_policy()
  observation = np.ones(3, np.float32)
  behavior_policy = builder.make_behavior_policy(spec, policy)
  actor = builder.make_actor(behavior_policy, policy, variable_source=learner)
  networks.normalizer.mean.assign([1.0, 2.0, 3.0])
  for variable in networks.policy.trainable_variables:
    variable.assign_add(0.1 * np.ones(variable.shape, np.float32))
  expected = networks.make_acting_policy()(observation[np.newaxis])[0]
  assert np.max(np.abs(actor.select_action(observation) - expected)) > 1e-3
  actor.update(wait=True)
  np.testing.assert_allclose(actor.select_action(observation), expected, rtol=1e-5)


def test_an_actor_without_a_source_follows_the_weights_it_shares():
  spec = specs.make_environment_spec(make_fake())
  builder = make_builder(agent='ddpg')
  policy = builder.make_networks(spec).make_acting_policy()
  actor = builder.make_actor(builder.make_behavior_policy(spec, policy), policy)
  observation = np.ones(3, np.float32)
  for follow in (actor.update, lambda: actor.observe_first(None)):
    for variable in policy.trainable_variables:
      variable.assign_add(0.1 * np.ones(variable.shape, np.float32))
    follow()
    expected = policy(observation[np.newaxis])[0]
    np.testing.assert_allclose(actor.select_action(observation), expected, rtol=1e-5)


def test_exploration_is_gaussian_within_bounds_and_evaluation_is_not():
  spec = specs.make_environment_spec(make_fake())
  builder = make_builder(agent='ddpg', sigma=0.2)
  policy = builder.make_networks(spec).make_acting_policy()
  observation = np.ones(3, np.float32)
  explore = builder.make_actor(builder.make_behavior_policy(spec, policy, 0), policy)
  actions = np.stack([explore.select_action(observation) for _ in range(500)])
  assert np.all(np.abs(actions) <= 1.0)
  np.testing.assert_allclose(actions.std(axis=0), 0.2, atol=0.03)
  evaluate = builder.make_actor(builder.make_behavior_policy(spec, policy), policy)
  greedy = evaluate.select_action(observation)
  np.testing.assert_array_equal(greedy, evaluate.select_action(observation))
  np.testing.assert_allclose(actions.mean(axis=0), greedy, atol=0.05)


def test_table_is_uniform_first_in_first_out_with_a_rate_limiter():
  spec = specs.make_environment_spec(make_fake())
  config = dict(min_replay_size=10, max_replay_size=50, samples_per_insert=4.0)
  (table,) = make_builder(**config).make_replay_tables(spec)
  info = table.info
  assert info.max_size == 50
  assert info.rate_limiter_info.samples_per_insert == 4.0
  assert info.rate_limiter_info.min_size_to_sample == 10
  assert info.sampler_options.WhichOneof('distribution') == 'uniform'
  assert info.remover_options.WhichOneof('distribution') == 'fifo'
  # The batches of a call can be drawn before the limiter stops the learner.
  slack = info.rate_limiter_info.max_diff - info.rate_limiter_info.min_diff
  assert slack >= 2 * 8 * SMALL['batch_size']


def test_a_single_thread_never_waits_for_what_its_adder_holds_back(serve):
  """A batch can be drawn while the table holds fewer items than were written."""
  environment = environments.wrap(Counting(1000, terminates=False))
  spec = specs.make_environment_spec(environment)
  builder = make_builder(agent='ddpg', min_replay_size=201)
  client = serve(builder.make_replay_tables(spec, limit_rate=False))
  adder = builder.make_adder(client)
  adder.add_first(environment.reset())
  for _ in range(201):
    adder.add(np.zeros(1, np.float32), environment.step(np.zeros(1, np.float32)))
  assert 150 < client.server_info()['priority_table'].current_size < 201
  next(builder.make_dataset_iterator(client))


def test_the_dataset_has_no_tuning_thread_for_whose_turn_its_deletion_waits(serve):
  builder, environment = make_builder(), fakes.ContinuousEnvironment()
  spec = specs.make_environment_spec(environment)
  iterator = builder.make_dataset_iterator(serve(builder.make_replay_tables(spec)))
  assert iterator._dataset.options().autotune.enabled is False
