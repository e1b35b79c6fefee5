"""The adder against Acme's own, each through a table of the same Reverb server."""

from acme import specs
from acme.adders import reverb as reverb_adders
import dm_env
import numpy as np
import pytest
import reverb
import tensorflow as tf

from acme_dsdpg import networks as networks_lib
from acme_dsdpg.agent import adders, batches, presets

S, A, GAMMA = 3, 2, 0.9
SPEC = specs.EnvironmentSpec(
  observations=specs.Array((S,), np.float32),
  actions=specs.BoundedArray((A,), np.float32, -1.0, 1.0),
  rewards=specs.Array((), np.float32),
  discounts=specs.BoundedArray((), np.float32, 0.0, 1.0),
)
CONFIG = presets.make_config({'agent': 'dsdpg_anchored'}).dsdpg


class _AcmesClient:
  """A client as Acme 0.4 calls it: Reverb has not this timeout any more."""

  def __init__(self, client):
    self._client = client

  def trajectory_writer(self, num_keep_alive_refs, get_signature_timeout_ms):
    del get_signature_timeout_ms
    return self._client.trajectory_writer(num_keep_alive_refs)


@pytest.fixture(name='served', params=[1, 2, 5], scope='module')
def _served(request):
  """N, a client of tables 'rows' and 'acme', each of whose items comes once, in order."""
  n_step = request.param
  outcome = (SPEC.rewards, SPEC.discounts, SPEC.observations)
  signatures = {
    'rows': tf.TensorSpec([n_step + 1, S + A + 2], tf.float32),
    'acme': reverb_adders.NStepTransitionAdder.signature(SPEC, outcome),
  }
  server = reverb.Server(
    [reverb.Table.queue(name, 10_000, signature=s) for name, s in signatures.items()]
  )
  yield n_step, reverb.Client(f'localhost:{server.port}')
  server.stop()


def _episode(rng, length, last_discount):
  """Timesteps and actions; discounts between 0 and 1, some of them 0."""
  observation = lambda: rng.normal(size=S).astype(np.float32)
  timesteps = [dm_env.restart(observation())]
  for i in range(length):
    step = dm_env.StepType.LAST if i + 1 == length else dm_env.StepType.MID
    discount = np.float32(rng.choice([0.0, 1.0, rng.uniform()], p=[0.1, 0.6, 0.3]))
    if i + 1 == length:
      discount = np.float32(last_discount)
    reward = np.float32(rng.normal())
    timesteps.append(dm_env.TimeStep(step, reward, discount, observation()))
  return timesteps, rng.uniform(-1, 1, size=(length, A)).astype(np.float32)


def _write(ours, acmes, timesteps, actions):
  for adder in (ours, acmes):
    adder.add_first(timesteps[0])
  for action, timestep in zip(actions, timesteps[1:]):
    ours.add(action, timestep)
    outcome = (timestep.reward, timestep.discount, timestep.observation)
    acmes.add(action, timestep, outcome)


def _items(client, table):
  """All of a table, each field an array, and the table is empty."""
  size = client.server_info()[table].current_size
  samples = client.sample(table, size, emit_timesteps=False)
  return [np.stack(field) for field in zip(*(sample.data for sample in samples))]


def _sorted(*fields):
  """The fields as one row an item, sorted: the adders write in different orders."""
  rows = np.concatenate([np.reshape(f, [len(f), -1]) for f in fields], axis=1)
  return rows[np.lexsort(np.round(rows.T[::-1], 4))]


def _ours(client):
  (rows,) = _items(client, 'rows')
  identity = networks_lib.Normalizer(S, enabled=False)
  return batches.prepare(batches.Window.of(rows, S), identity, CONFIG)


def _expected(client):
  """Acme's transitions; their discounts lack one gamma, which its learners apply."""
  observation, action, reward, discount, following, *first = _items(client, 'acme')
  first_reward, first_discount, second = first
  return _sorted(
    observation, action, following, reward, GAMMA * discount, second, first_reward,
    GAMMA * first_discount,
  )  # fmt: skip


def _compare(client):
  batch = _ours(client)
  (reward, discount, following), first = batch.outcome, batch.model_outcome
  actual = _sorted(
    batch.observation, batch.action, following, reward, discount, first.next_observation,
    first.reward, first.discount,
  )  # fmt: skip
  expected = _expected(client)
  np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)
  return len(expected)


def _make(client, n_step):
  ours = adders.RowAdder(client, 'rows', n_step, GAMMA)
  acmes = reverb_adders.NStepTransitionAdder(
    _AcmesClient(client), n_step, GAMMA, priority_fns={'acme': None}
  )
  return ours, acmes


@pytest.mark.parametrize('last_discount', [0.0, 0.7, 1.0])
def test_transitions_are_acmes_whatever_an_episodes_length_and_end(served, last_discount):
  n_step, client = served
  rng = np.random.default_rng(0)
  pair = _make(client, n_step)
  lengths = (1, 2, 4, 5, 6, 60)
  for length in lengths:
    _write(*pair, *_episode(rng, length, last_discount))
  expected = sum(length + min(length, n_step) - 1 for length in lengths)
  assert _compare(client) == expected


@pytest.mark.parametrize('steps', [1, 3, 7, 40])
@pytest.mark.parametrize('told', [True, False])
def test_an_episode_that_is_cut_leaves_what_it_had_and_the_next_is_whole(
  served, steps, told
):
  n_step, client = served
  rng = np.random.default_rng(steps)
  ours, acmes = _make(client, n_step)
  timesteps, actions = _episode(rng, 50, 1.0)
  _write(ours, acmes, timesteps[: steps + 1], actions[:steps])
  if told:  # Otherwise the next first timestep says so.
    ours.reset()
  acmes.reset()
  _, acmes = _make(client, n_step)  # The other is of no use after a reset.
  _write(ours, acmes, *_episode(rng, 8, 0.0))
  assert _compare(client) == steps + 8 + min(8, n_step) - 1


def test_a_reset_before_any_step_leaves_nothing(served):
  n_step, client = served
  adder = adders.RowAdder(client, 'rows', n_step, GAMMA)
  adder.reset()
  adder.add_first(dm_env.restart(np.ones(S, np.float32)))
  adder.reset()
  assert client.server_info()['rows'].current_size == 0


def test_the_first_window_is_in_replay_at_once(served):
  # A thread that acts and learns could wait for it for ever.
  n_step, client = served
  adder = adders.RowAdder(client, 'rows', n_step, GAMMA)
  timesteps, actions = _episode(np.random.default_rng(0), 10, 1.0)
  adder.add_first(timesteps[0])
  for i in range(n_step):
    assert client.server_info()['rows'].current_size == 0
    adder.add(actions[i], timesteps[i + 1])
  assert client.server_info()['rows'].current_size == 1
  adder.reset()
  _items(client, 'rows')
