"""The learner on random batches: what a step changes, and what it does not."""

import types as python_types

from acme import specs
from acme.utils import counting
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability.python.internal import samplers

from acme_dsdpg import networks as networks_lib
from acme_dsdpg.agent import learning, presets
from tests.agent import windows
from tests.oracles import mlp

S, A, B, M = 5, 2, 8, 4
SMALL = dict(
  hidden_sizes=(16, 16),
  world_model_hidden_sizes=(16, 16),
  num_samples=M,
  noise_dim=3,
  num_features=3,
  batch_size=B,
  discount=0.9,
  target_update_rate=0.25,
  policy_learning_rate=1e-2,
  critic_learning_rate=1e-2,
  world_model_learning_rate=1e-2,
  jit_compile=False,
)
SPEC = specs.EnvironmentSpec(
  observations=specs.Array((S,), np.float32),
  actions=specs.BoundedArray((A,), np.float32, -1.0, 1.0),
  rewards=specs.Array((), np.float32),
  discounts=specs.BoundedArray((), np.float32, 0.0, 1.0),
)
ALWAYS = {
  'skipped_updates',
  'critic_loss',
  'critic_gradient_norm',
  'policy_loss',
  'policy_gradient_norm',
  'return_mean',
  'return_spread',
  'target_mean',
  'target_spread',
  'td_error_mean',
  'td_error_abs',
}
WITH_WORLD_MODEL = {
  'world_model_loss',
  'reconstruction_error',
  'kl',
  'world_model_gradient_norm',
}
WITH_GRADIENTS = {
  'gradient_norm',
  'gradient_spread',
  'target_gradient_norm',
  'target_gradient_spread',
}


def _rows(seed):
  """A batch of two steps."""
  return windows.draw(seed, B, 2, S, A, discount=0.9).astype(np.float32)


class _Logger:
  """Keeps what it is given."""

  def __init__(self):
    self.rows = []

  def write(self, row):
    self.rows.append(row)


def _make(
  agent, seed=0, networks_seed=0, log_every=1, counter=None, traced=False, **overrides
):
  """A learner, its networks and its log. Tracing takes as long as many eager steps."""
  config = presets.make_config({'agent': agent, **SMALL, **overrides}).dsdpg
  networks = networks_lib.make_networks(SPEC, config, networks_seed)
  target = python_types.SimpleNamespace(
    policy=networks_lib.make_policy(SPEC, config, networks_seed + 1),
    critic=networks_lib.make_critic(
      SPEC, config, networks.world_model, networks_seed + 1
    ),
  )
  samples = windows.single(_rows(i) for i in range(4))
  logger = _Logger()
  learner = learning.DSDPGLearner(
    networks,
    target.policy,
    target.critic,
    config,
    samples,
    seed,
    counter=counter,
    logger=logger,
    log_every=log_every,
  )
  if not (traced or config.jit_compile):
    learner._update = learner._steps
  return python_types.SimpleNamespace(
    learner=learner,
    networks=networks,
    config=config,
    rows=logger.rows,
    parts={
      'normalizer': networks.normalizer,
      'policy': networks.policy,
      'critic': networks.critic,
      'target_policy': target.policy,
      'target_critic': target.critic,
      'world_model': networks.world_model,
    },
  )


def _snapshot(run):
  return {
    name: [v.numpy() for v in part.variables]
    for name, part in run.parts.items()
    if part is not None
  }


def _run(run, steps):
  """Snapshots before and after each step."""
  snapshots = [_snapshot(run)]
  for _ in range(steps):
    run.learner.step()
    snapshots.append(_snapshot(run))
  return snapshots


def _same(first, second, names=None):
  """Whether the networks' variables agree bit for bit."""
  pairs = ((first[name], second[name]) for name in names or first)
  return all(np.array_equal(a, b) for x, y in pairs for a, b in zip(x, y))


# Every preset.


_NO_GRADIENTS = dict(agent='dsdpg_anchored', sobolev='none', targets='observed')


@pytest.fixture(
  scope='module',
  params=[*({'agent': agent} for agent in presets.PRESETS), _NO_GRADIENTS],
  ids=lambda switches: '-'.join(switches.values()),
)
def trained(request):
  run = _make(**request.param)
  run.snapshots = _run(run, 3)
  return run


def test_steps_change_every_variable_of_every_network(trained):
  before, after = trained.snapshots[0], trained.snapshots[-1]
  for name, values in before.items():
    for variable, old, new in zip(trained.parts[name].variables, values, after[name]):
      assert np.any(old != new), variable.name


def test_only_agents_whose_targets_or_critics_need_one_have_a_world_model(trained):
  exists = trained.config.targets != 'observed' or trained.config.predictive_critic
  assert (trained.networks.world_model is not None) == exists
  assert ('world_model' in trained.learner.state) == exists
  assert ('world_model_optimizer' in trained.learner.state) == exists


def test_targets_start_at_the_online_networks_and_follow_at_their_rate(trained):
  for name in ('policy', 'critic'):
    target = f'target_{name}'
    assert all(map(np.array_equal, *(trained.snapshots[0][k] for k in (name, target))))
    for before, after in zip(trained.snapshots, trained.snapshots[1:]):
      for old, online, new in zip(before[target], after[name], after[target]):
        expected = old + SMALL['target_update_rate'] * (online - old)
        np.testing.assert_allclose(new, expected, rtol=1e-6, atol=1e-7)


def test_metrics_are_those_of_the_switches_and_finite(trained):
  expected = {*ALWAYS, 'steps'}
  if trained.config.targets != 'observed' or trained.config.predictive_critic:
    expected |= WITH_WORLD_MODEL
  if trained.config.sobolev != 'none':
    expected |= WITH_GRADIENTS
  if trained.config.targets == 'anchored':
    expected.add('trust')
  assert len(trained.rows) == 3
  for row in trained.rows:
    assert set(row) == expected
    assert all(np.isfinite(value) for value in row.values())


def test_returns_are_spread_unless_the_critic_is_a_point(trained):
  is_spread = trained.rows[-1]['return_spread'] > 1e-4
  assert is_spread == (trained.config.critic != 'point')


@pytest.mark.parametrize(
  ('switches', 'rise'),
  # The energy distance does not depend on h where samples are much further apart than
  # 1 / h; the paper's loss does, and is logged as it is.
  [(dict(agent='ddpg_mmd'), 10.0), (dict(agent='ddpg', critic='features'), 1.0)],
  ids=['samples', 'features'],
)
def test_the_kernels_slope_does_not_lengthen_the_first_updates(switches, rise):
  # Rectified Adam's first five are not normalised.
  def moved(h):
    run = _make(critic_learning_rate=1e-3, multiquadric_h=h, **switches)
    before, *_, after = (s['critic'] for s in _run(run, 5))
    distance = np.sqrt(sum(np.sum((x - y) ** 2) for x, y in zip(before, after)))
    return distance, run.rows[0]['critic_loss']

  (few, loss), (many, larger) = map(moved, (1e2, 1e3))
  np.testing.assert_allclose(many, few, rtol=0.1)
  assert few < 0.05  # Of weights whose norm is 6.7.
  np.testing.assert_allclose(larger / loss, rise, rtol=0.1)


# Isolation.


def test_normalizer_changes_only_if_observations_are_normalised():
  run = _make('ddpg', normalize_observations=False)
  before, after = _run(run, 1)
  assert _same(before, after, ['normalizer'])
  assert not _same(before, after, ['policy'])


@pytest.mark.parametrize('agent', ['ddpg_mmd_reconstructed', 'dsdpg_anchored'])
def test_world_model_learns_the_same_whatever_critic_and_policy_are(agent):
  first, second = _make(agent), _make(agent)
  for variable in (*second.networks.critic.variables, *second.networks.policy.variables):
    variable.assign_add(tf.ones_like(variable))
  first, second = _run(first, 1)[-1], _run(second, 1)[-1]
  assert _same(first, second, ['world_model'])
  assert not _same(first, second, ['critic'])


def test_critic_and_policy_learn_the_same_whatever_the_world_models_loss_is():
  # The model's step underflows: its loss could act on the others by gradients only.
  frozen = dict(world_model_learning_rate=1e-30)
  first = _make('ddpg_mmd_reconstructed', **frozen, kl_weight=0.1)
  second = _make('ddpg_mmd_reconstructed', **frozen, kl_weight=10.0)
  snapshots = [_run(run, 2)[-1] for run in (first, second)]
  assert _same(*snapshots, ['critic', 'policy'])
  assert first.rows[0]['world_model_loss'] < second.rows[0]['world_model_loss']


def test_policy_does_not_change_where_the_critic_ignores_the_action():
  run = _make('ddpg', critic_learning_rate=1e-30)
  for name in ('hidden_0', 'hidden_1'):
    (kernel,) = [v for v in run.networks.critic.variables if f'{name}/kernel' in v.name]
    size = S + A  # The input comes last.
    mask = np.ones(kernel.shape, np.float32)
    mask[kernel.shape[0] - size + S :] = 0.0
    kernel.assign(kernel * mask)
  # Nor the residual of the input: no hidden layer has its size.
  before, after = _run(run, 1)
  for old, new in zip(before['policy'], after['policy']):
    assert np.max(np.abs(new - old)) < 1e-20


# Reproducibility.


@pytest.fixture(scope='module')
def hundred():
  run = _make('ddpg_mmd_reconstructed', traced=True)
  run.snapshots = _run(run, 100)
  return run


def test_same_seed_same_first_hundred_updates_bit_for_bit(hundred):
  again = _make('ddpg_mmd_reconstructed', traced=True)
  for first, second in zip(hundred.snapshots, _run(again, 100)):
    assert _same(first, second)
  assert hundred.rows == again.rows
  assert all(np.isfinite(value) for value in hundred.rows[-1].values())


@pytest.fixture(scope='module', name='compiled')
def compiled_learner():
  """One learner under XLA, whose compilation is what takes long."""
  sizes = dict(hidden_sizes=(8,), world_model_hidden_sizes=(8,), num_samples=2)
  return _make('dsdpg_anchored', jit_compile=True, **sizes)


def test_same_state_same_updates_under_xla(compiled, tmp_path):
  checkpoint = tf.train.Checkpoint(**compiled.learner.state)
  start = checkpoint.write(str(tmp_path / 'start'))
  first = _run(compiled, 20)  # Its four batches come five times.
  checkpoint.read(start).assert_consumed()
  for a, b in zip(first, _run(compiled, 20)):
    assert _same(a, b)
  assert not _same(first[0], first[-1], ['critic'])


@pytest.mark.parametrize(
  ('agent', 'jit_compile'), [('dsdpg_anchored', False), ('ddpg_mmd', True)]
)
def test_steps_of_one_call_are_those_of_as_many_calls(agent, jit_compile):
  sizes = dict(hidden_sizes=(8,), num_samples=2)
  make = lambda: _make(agent, jit_compile=jit_compile, log_every=2, **sizes)
  one_by_one, at_once = make(), make()
  at_once.learner._iterator = windows.samples([np.stack([_rows(i) for i in range(4)])])
  expected, (_, actual) = _run(one_by_one, 4)[-1], _run(at_once, 1)
  assert _same(expected, actual)
  assert int(at_once.learner.state['num_steps']) == 4
  assert [row['steps'] for row in at_once.rows] == [2, 4]
  assert at_once.rows == one_by_one.rows


def test_another_seed_draws_other_noise():
  first, second = (_run(_make('ddpg_mmd', seed), 1) for seed in (0, 1))
  assert _same(first[0], second[0])
  assert not _same(first[1], second[1], ['critic'])


def test_noise_changes_from_step_to_step():
  run = _make('ddpg_mmd', critic_learning_rate=1e-30, normalize_observations=False)
  batch = tf.constant(_rows(0))
  spreads = set()
  for _ in range(3):
    metrics, _ = run.learner._step(batch)
    spreads.add(float(metrics['return_spread']))
  assert len(spreads) == 3


def test_world_model_learns_to_reconstruct(hundred):
  errors = [row['reconstruction_error'] for row in hundred.rows]
  assert np.mean(errors[-4:]) < 0.5 * np.mean(errors[:4])


def test_a_restored_learner_goes_on_identically(tmp_path):
  saved = _make('dsdpg_anchored', world_model='residual_cvae')
  _run(saved, 1)
  path = tf.train.Checkpoint(**saved.learner.state).write(str(tmp_path / 'saved'))
  expected = _run(saved, 2)
  restored = _make('dsdpg_anchored', networks_seed=5, world_model='residual_cvae')
  next(restored.learner._iterator)  # The batch that the other has had.
  assert not _same(_snapshot(restored), expected[0], ['policy'])
  tf.train.Checkpoint(**restored.learner.state).read(path).assert_consumed()
  for first, second in zip(_run(restored, 2), expected):
    assert _same(first, second)


@pytest.mark.slow
@pytest.mark.parametrize(
  'switches', [dict(critic='features', sobolev='action'), dict(critic='samples')]
)
def test_xla_and_plain_graphs_agree_on_the_same_noise(switches, monkeypatch):
  sizes = dict(hidden_sizes=(8,), world_model_hidden_sizes=(8,), num_samples=2)
  sizes['world_model'] = 'residual_cvae'
  runs = [
    _make('dsdpg_anchored', jit_compile=j, traced=True, **sizes, **switches)
    for j in (False, True)
  ]

  # From the same seed, XLA draws other noise.
  def uniform(shape, *unused_args, **unused_kwargs):
    indices = tf.cast(tf.range(tf.reduce_prod(shape)), tf.float32)
    return tf.reshape(0.5 + 0.5 * tf.sin(indices**2), shape)

  normal = lambda shape, *unused_args, **unused_kwargs: 3.0 * uniform(shape) - 1.5
  monkeypatch.setattr(samplers, 'normal', normal)
  monkeypatch.setattr(tf.random, 'stateless_normal', normal)
  monkeypatch.setattr(tf.random, 'stateless_uniform', uniform)
  plain, compiled = (_run(run, 3)[-1] for run in runs)
  for name, value in runs[0].rows[0].items():
    np.testing.assert_allclose(value, runs[1].rows[0][name], rtol=1e-3, atol=1e-5)
  for name, values in plain.items():
    for a, b in zip(values, compiled[name]):
      np.testing.assert_allclose(a, b, rtol=1e-2, atol=1e-3)


# Values.


def _forward(variables, rows):
  """The oracle's forward pass of a policy or critic."""
  w = {'/'.join(v.name.split(':')[0].split('/')[-2:]): i for i, v in enumerate(variables)}

  def of(values):
    values = [v.astype(np.float64) for v in values]
    pair = lambda name, *parts: tuple(values[w[f'{name}/{part}']] for part in parts)
    hidden = [pair(f'hidden_{i}', 'kernel', 'bias') for i in range(2)]
    norms = [pair('norm_0', 'scale', 'offset')]
    output = pair('output', 'kernel', 'bias')
    return np.array(
      [
        mlp.forward(x, hidden, output, residual=True, norms=norms, norm='first')
        for x in rows
      ]
    )

  return of


def test_ddpg_is_the_classic_squared_td_error_and_policy_gradient():
  run = _make('ddpg')
  before, after = _run(run, 3)[-2:]  # By then the targets differ from the online ones.
  seen = np.concatenate([_rows(i)[:, 0, :S] for i in range(3)]).astype(float)
  normalise = lambda x: (np.asarray(x, float) - seen.mean(0)) / seen.std(0)
  rows = _rows(2).astype(float)
  s, next_s = normalise(rows[:, 0, :S]), normalise(rows[:, 2, :S])
  action = rows[:, 1, S:-2]
  (reward, discount), (reward_2, discount_2) = rows[:, 1:, -2:].transpose(1, 2, 0)

  def policy(rows, values):
    return np.tanh(_forward(run.networks.policy.variables, rows)(values))

  def critic(rows, actions, values):
    rows = np.concatenate([rows, actions], -1)
    return _forward(run.networks.critic.variables, rows)(values)[:, 0]

  next_q = critic(
    next_s, policy(next_s, before['target_policy']), before['target_critic']
  )
  y = reward + discount * (reward_2 + discount_2 * next_q)
  q = critic(s, action, before['critic'])
  row = run.rows[-1]
  np.testing.assert_allclose(row['target_mean'], np.mean(y), rtol=1e-4)
  np.testing.assert_allclose(row['critic_loss'], np.mean((q - y) ** 2), rtol=1e-4)
  # The policy is updated after the critic.
  q = critic(s, policy(s, before['policy']), after['critic'])
  np.testing.assert_allclose(row['policy_loss'], -np.mean(q), rtol=1e-4)


# Acme's interface.


def test_acting_variables_are_the_normalizers_and_the_policys():
  run = _make('ddpg')
  run.learner.step()
  policy, critic = run.learner.get_variables(['policy', 'critic'])
  acting = run.networks.make_acting_policy().variables
  assert len(policy) == len(acting) == len(run.networks.policy.variables) + 3
  assert all(map(np.array_equal, policy, [v.numpy() for v in acting]))
  assert all(map(np.array_equal, critic, run.networks.critic.get_weights()))


def test_metrics_are_written_every_so_many_steps():
  run = _make('ddpg', log_every=2)
  _run(run, 5)
  assert [row['steps'] for row in run.rows] == [2, 4]


def test_logging_does_not_depend_on_how_steps_are_counted():
  counter = counting.Counter(counting.Counter(), prefix='gradient', time_delta=0.0)
  run = _make('ddpg', log_every=2, counter=counter)
  _run(run, 4)
  assert [row['gradient_steps'] for row in run.rows] == [2, 4]


# What is not finite.


_FIELDS = {'observation': (0, 0), 'action': (1, S), 'reward': (1, -2)}


def _poisoned(run, field, value):
  rows = _rows(9)
  rows[(3, *_FIELDS[field])] = value
  run.learner._iterator = windows.single([rows])


@pytest.mark.parametrize('make', [None, 'compiled'])
def test_an_update_that_is_not_finite_changes_nothing_and_is_counted(make, request):
  run = request.getfixturevalue(make) if make else _make('ddpg_reconstructed')
  iterator = run.learner._iterator
  poisons = [('observation', np.nan), ('reward', np.inf), ('action', np.nan)]
  for number, (field, value) in enumerate(poisons):
    run.learner._iterator = iterator
    last = _snapshot(run)
    run.learner.step()
    before = _snapshot(run)
    for a, b in zip(last['critic'], before['critic']):
      assert np.any(a != b)
    assert run.rows[-1]['skipped_updates'] == number
    slots = [v.numpy() for v in run.learner._optimizers['critic'].variables]
    _poisoned(run, field, value)
    run.learner.step()
    after = _snapshot(run)
    for name in ('normalizer', 'world_model', 'critic', 'policy'):
      for a, b in zip(before[name], after[name]):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(slots, run.learner._optimizers['critic'].variables):
      np.testing.assert_array_equal(a, b)
    for values in after.values():
      assert all(np.all(np.isfinite(v)) for v in values)
    assert run.rows[-1]['skipped_updates'] == number + 1


def test_too_many_in_a_row_raise_with_the_batch():
  run = _make('ddpg')
  run.learner._max_skipped_updates = 3
  for skipped in range(2):
    _poisoned(run, 'reward', np.nan)
    run.learner.step()
    assert run.rows[-1]['skipped_updates'] == skipped + 1
  _poisoned(run, 'reward', np.nan)
  with pytest.raises(learning.NonFiniteError, match='3 updates in a row') as error:
    run.learner.step()
  arrays = error.value.batch
  assert np.isnan(arrays['reward']).sum() == 1
  shapes = {name: array.shape for name, array in arrays.items()}
  assert shapes == {
    'observation': (B, 3, S), 'action': (B, 2, A), 'reward': (B, 2), 'factor': (B, 2),
  }  # fmt: skip


def test_skipped_steps_of_one_call_are_counted_one_by_one():
  run = _make('ddpg', log_every=2)
  run.learner._max_skipped_updates = 3
  rows = [_rows(i) for i in range(6)]
  bad = (0, 2, 3)
  for i in bad:
    rows[i][0, 1, -2] = np.nan
  run.learner._iterator = windows.samples([np.stack(rows), np.stack(rows[2:4])])
  run.learner.step()
  assert [row['skipped_updates'] for row in run.rows] == [1, 3, 3]
  rows[4][0, 2, -1] = np.inf
  run.learner._iterator = windows.samples([np.stack(rows)])
  with pytest.raises(learning.NonFiniteError, match='3 updates in a row') as error:
    run.learner.step()
  assert np.isinf(error.value.batch['factor']).sum() == 1
  assert run.rows[-1]['skipped_updates'] == 6


def test_a_world_model_that_diverges_is_warned_of(caplog):
  run = _make('dsdpg')
  watch = run.learner._watch_world_model
  for error in (2.0, 1.0, 25.0):
    watch(np.float32(error))
  assert not caplog.records
  watch(np.float32(31.0))
  assert 'world model diverges' in caplog.text
  watch(None)


@pytest.mark.parametrize('agent', ['dsdpg_anchored', 'ddpg'])
def test_the_gradient_norms_are_those_of_what_the_optimizers_were_given(agent):
  run = _make(agent)
  run.learner.step()
  optimizers = run.learner._optimizers
  assert optimizers.keys() >= {'critic', 'policy'}
  for name, optimizer in optimizers.items():
    # m_1 = (1 - beta_1) g.
    norm = np.linalg.norm(optimizer.first_moments.numpy().astype(np.float64)) / 0.1
    np.testing.assert_allclose(run.rows[0][f'{name}_gradient_norm'], norm, rtol=1e-4)
    assert norm > 0.0
