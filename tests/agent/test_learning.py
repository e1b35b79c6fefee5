"""The learner on random batches: what a step changes, and what it does not."""

import dataclasses
import itertools
import types as python_types

from acme import specs, types
import numpy as np
import pytest
import reverb
import tensorflow as tf
from tensorflow_probability.python.internal import samplers

from acme_dsdpg import config as config_lib
from acme_dsdpg import networks as networks_lib
from acme_dsdpg.agent import adders as agent_adders
from acme_dsdpg.agent import critic_kernels, learning
from acme_dsdpg.losses import kernels
from acme_dsdpg.running import checkpointing
from tests.oracles import kernels as oracle_kernels
from tests.oracles import mlp

S, A, B, M = 5, 2, 8, 4
SMALL = dict(
  hidden_sizes=(16, 16),
  world_model_hidden_sizes=(16, 16),
  num_samples=M,
  policy_num_samples=M,
  noise_dim=3,
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
TWO_CRITICS = dict(num_critics=2, num_dropped_samples=2)
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


def _transition(seed):
  rng = np.random.default_rng(seed)
  float32 = lambda x: tf.constant(x, tf.float32)
  return types.Transition(
    observation=float32(2.0 + 3.0 * rng.normal(size=(B, S))),
    action=float32(rng.uniform(-1.0, 1.0, size=(B, A))),
    reward=float32(rng.normal(size=B)),
    # Ended, halved, and going on.
    discount=float32(np.resize([0.0, 0.5, 1.0], B)),
    next_observation=float32(2.0 + 3.0 * rng.normal(size=(B, S))),
    extras=agent_adders.Outcome(
      reward=float32(rng.normal(size=B)),
      discount=float32(np.resize([0.0, 1.0], B)),
      next_observation=float32(2.0 + 3.0 * rng.normal(size=(B, S))),
    ),
  )


class _Logger:
  """Keeps what it is given."""

  def __init__(self):
    self.rows = []

  def write(self, row):
    self.rows.append(row)


def _make(agent, seed=0, networks_seed=0, log_every=1, **overrides):
  config = config_lib.make_config({'agent': agent, **SMALL, **overrides}).dsdpg
  networks = networks_lib.make_networks(SPEC, config, networks_seed)
  target = networks_lib.make_networks(SPEC, config, networks_seed + 1)
  batches = itertools.cycle([_transition(i) for i in range(4)])
  samples = (reverb.ReplaySample(info=None, data=batch) for batch in batches)
  logger = _Logger()
  learner = learning.DSDPGLearner(
    networks,
    target.policy,
    target.critic,
    config,
    samples,
    seed,
    logger=logger,
    log_every=log_every,
  )
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


@pytest.fixture(scope='module', params=config_lib.PRESETS)
def trained(request):
  run = _make(request.param)
  run.snapshots = _run(run, 3)
  return run


def test_steps_change_every_variable_of_every_network(trained):
  before, after = trained.snapshots[0], trained.snapshots[-1]
  for name, values in before.items():
    for variable, old, new in zip(trained.parts[name].variables, values, after[name]):
      assert np.any(old != new), variable.name


def test_only_agents_with_reconstructed_or_anchored_targets_have_a_world_model(trained):
  exists = trained.config.targets != 'observed'
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
  if trained.config.targets != 'observed':
    expected |= WITH_WORLD_MODEL
  if trained.config.sobolev != 'none':
    expected |= WITH_GRADIENTS
  assert len(trained.rows) == 3
  for row in trained.rows:
    assert set(row) == expected
    assert all(np.isfinite(value) for value in row.values())


def test_returns_are_spread_unless_the_critic_is_a_point(trained):
  is_spread = trained.rows[-1]['return_spread'] > 1e-4
  assert is_spread == (trained.config.critic == 'samples')


@pytest.mark.parametrize(
  ('agent', 'field', 'weights'),
  [
    ('ddpg_mmd', 'multiquadric_h', (1e2, 1e3)),
    ('ddpg_mmd', 'linear_return_weight', (1e4, 1e5)),
    ('dsdpg_anchored', 'linear_gradient_weight', (1e4, 1e5)),
    ('dsdpg_anchored', 'return_kernel_weight', (1e2, 1e3)),
  ],
)
def test_the_kernels_slope_does_not_lengthen_the_first_updates(agent, field, weights):
  # Rectified Adam's first five are not normalised.
  def moved(weight):
    run = _make(agent, critic_learning_rate=1e-3, **{field: weight})
    before, *_, after = (s['critic'] for s in _run(run, 5))
    distance = np.sqrt(sum(np.sum((x - y) ** 2) for x, y in zip(before, after)))
    return distance, run.rows[0]['critic_loss']

  (few, loss), (many, larger) = map(moved, weights)
  np.testing.assert_allclose(many, few, rtol=0.1)
  assert few < 0.05  # Of weights whose norm is 6.7.
  np.testing.assert_allclose(larger / loss, 10.0, rtol=0.1)  # It is logged as it is.


# Isolation.


def test_normalizer_changes_only_if_observations_are_normalised():
  run = _make('ddpg', normalize_observations=False)
  before, after = _run(run, 1)
  assert _same(before, after, ['normalizer'])
  assert not _same(before, after, ['policy'])


def test_normalised_outcomes_have_the_statistics_of_the_steps_the_model_spans():
  run = _make('dsdpg_anchored', normalize_outcomes=True, normalize_observations=False)
  _run(run, 3)
  batches = [_transition(i) for i in range(3)]
  first_steps = [b.extras.next_observation - b.observation for b in batches]
  rewards = np.concatenate([b.extras.reward for b in batches])[:, np.newaxis]
  outcomes = np.concatenate([rewards, np.concatenate(first_steps)], axis=-1)
  normalizer = run.networks.world_model._normalizer
  np.testing.assert_allclose(normalizer.mean, outcomes.mean(0), rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(normalizer.variance, outcomes.var(0), rtol=1e-4)
  _poisoned(run, 'reward', np.nan)
  run.learner.step()
  np.testing.assert_allclose(normalizer.mean, outcomes.mean(0), rtol=1e-4, atol=1e-5)


def test_world_model_learns_the_same_whatever_critic_and_policy_are():
  agent = 'ddpg_mmd_reconstructed'
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


@pytest.mark.parametrize('agent', ['dsdpg_anchored', 'ddpg_reconstructed'])
def test_the_world_model_learns_from_each_of_its_batches_the_rest_from_the_last(agent):
  plain = dict(normalize_observations=False, world_model_updates=2)
  frozen = dict(plain, world_model_learning_rate=1e-30)
  first, second, last = (_transition(i) for i in range(3))
  both = lambda x, y: tf.nest.map_structure(lambda *z: tf.concat(z, 0), x, y)

  def step(batch, **overrides):
    run = _make(agent, **overrides)
    run.learner._iterator = iter([reverb.ReplaySample(info=None, data=batch)])
    after = _run(run, 1)[-1]
    iterations = {k: int(v.iterations) for k, v in run.learner._optimizers.items()}
    return after, iterations

  def close(x, y):  # Up to rounding, for which rows of other batches can matter.
    pairs = zip(x['critic'] + x['policy'], y['critic'] + y['policy'])
    return all(np.allclose(a, b, rtol=1e-4, atol=1e-6) for a, b in pairs)

  once, _ = step(last, **dict(frozen, world_model_updates=1))
  twice, iterations = step(both(first, last), **frozen)
  assert iterations == {'world_model': 2, 'critic': 1, 'policy': 1}
  assert close(once, twice)
  assert not close(once, step(both(last, first), **frozen)[0])

  of_first, of_second = (step(both(x, last), **plain)[0] for x in (first, second))
  assert not _same(of_first, of_second, ['world_model'])
  of_last = step(both(first, second), **plain)[0]
  assert not _same(of_first, of_last, ['world_model'])


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
  run = _make('dsdpg_anchored')
  run.snapshots = _run(run, 100)
  return run


def test_same_seed_same_first_hundred_updates_bit_for_bit(hundred):
  again = _make('dsdpg_anchored')
  for first, second in zip(hundred.snapshots, _run(again, 100)):
    assert _same(first, second)
  assert hundred.rows == again.rows
  assert all(np.isfinite(value) for value in hundred.rows[-1].values())


@pytest.mark.parametrize('overrides', [{}, TWO_CRITICS], ids=str)
def test_same_state_same_updates_under_xla(overrides, tmp_path):
  run = _make('dsdpg_anchored', jit_compile=True, hidden_sizes=(8, 8), **overrides)
  checkpoint = tf.train.Checkpoint(**run.learner.state)
  start = checkpoint.write(str(tmp_path / 'start'))
  first = _run(run, 20)  # Its four batches come five times.
  checkpoint.read(start).assert_consumed()
  for a, b in zip(first, _run(run, 20)):
    assert _same(a, b)
  assert not _same(first[0], first[-1], ['critic'])


def test_another_seed_draws_other_noise():
  first, second = (_run(_make('ddpg_mmd', seed), 1) for seed in (0, 1))
  assert _same(first[0], second[0])
  assert not _same(first[1], second[1], ['critic'])


def test_noise_changes_from_step_to_step():
  run = _make('ddpg_mmd', critic_learning_rate=1e-30, normalize_observations=False)
  batch = _transition(0)
  spreads = set()
  for _ in range(3):
    metrics = run.learner._update(batch)
    spreads.add(float(metrics['return_spread']))
  assert len(spreads) == 3


def test_world_model_learns_to_reconstruct(hundred):
  errors = [row['reconstruction_error'] for row in hundred.rows]
  assert np.mean(errors[-4:]) < 0.5 * np.mean(errors[:4])


@pytest.mark.parametrize('overrides', [{}, TWO_CRITICS], ids=str)
def test_a_restored_learner_goes_on_identically(overrides, tmp_path):
  config = config_lib.make_config({'agent': 'dsdpg_anchored', **SMALL, **overrides})

  def checkpointer(run):
    return checkpointing.Checkpointer(str(tmp_path), config, run.learner.state)

  saved = _make('dsdpg_anchored', **overrides)
  _run(saved, 8)  # Its four batches come twice.
  table = reverb.Table.queue('queue', 1)
  server = reverb.Server(
    [table], checkpointer=checkpointing.replay_checkpointer(str(tmp_path), None, [table])
  )
  client = reverb.Client(f'localhost:{server.port}')
  assert checkpointer(saved).save({'actor_steps': 7}, client)
  server.stop()
  expected = _run(saved, 4)
  restored = _make('dsdpg_anchored', networks_seed=5, **overrides)
  assert not _same(_snapshot(restored), expected[0], ['policy'])
  checkpointer(restored).restore(checkpointing.newest(str(tmp_path)))
  for first, second in zip(_run(restored, 4), expected):
    assert _same(first, second)


@pytest.mark.parametrize('overrides', [{}, TWO_CRITICS], ids=str)
def test_xla_and_plain_graphs_agree_on_the_same_noise(overrides, monkeypatch):
  # From the same seed, XLA draws other noise.
  def noise(shape, *unused_args, **unused_kwargs):
    indices = tf.cast(tf.range(tf.reduce_prod(shape)), tf.float32)
    return tf.reshape(1.5 * tf.sin(indices**2), shape)

  monkeypatch.setattr(samplers, 'normal', noise)
  runs = [_make('dsdpg_anchored', jit_compile=j, **overrides) for j in (False, True)]
  for run in runs:
    run.learner._noise = lambda batch, count, seed: noise([B, count, 3])
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
  seen = np.concatenate([_transition(i).observation for i in range(3)]).astype(float)
  normalise = lambda x: (np.asarray(x, float) - seen.mean(0)) / seen.std(0)
  t = _transition(2)
  s, next_s = normalise(t.observation), normalise(t.next_observation)

  def policy(rows, values):
    return np.tanh(_forward(run.networks.policy.variables, rows)(values))

  def critic(rows, actions, values):
    rows = np.concatenate([rows, actions], -1)
    return _forward(run.networks.critic.variables, rows)(values)[:, 0]

  next_q = critic(
    next_s, policy(next_s, before['target_policy']), before['target_critic']
  )
  y = t.reward.numpy() + 0.9 * t.discount.numpy() * next_q
  q = critic(s, t.action.numpy(), before['critic'])
  row = run.rows[-1]
  np.testing.assert_allclose(row['target_mean'], np.mean(y), rtol=1e-4)
  np.testing.assert_allclose(row['critic_loss'], np.mean((q - y) ** 2), rtol=1e-4)
  # The policy is updated after the critic.
  q = critic(s, policy(s, before['policy']), after['critic'])
  np.testing.assert_allclose(row['policy_loss'], -np.mean(q), rtol=1e-4)


def test_the_pre_activation_weight_adds_the_oracles_penalty_to_the_policys_gradient():
  gradients = []
  for weight in (0.0, 0.7):
    run = _make('dsdpg_anchored', policy_pre_activation_weight=weight)
    batch = run.learner._prepare(_transition(0))
    of_policy, metrics = run.learner._policy_gradients(batch, tf.constant([1, 2]))
    gradients.append((of_policy, metrics['policy_loss']))
  (without, loss), (regularised, same_loss) = gradients
  np.testing.assert_array_equal(loss, same_loss)  # What is logged is minus the return.
  variables = run.networks.policy.trainable_variables
  pre_activation = _forward(variables, batch.observation.numpy().astype(float))
  values = [v.numpy().astype(float) for v in variables]
  rng = np.random.default_rng(0)
  direction = [rng.normal(size=v.shape) for v in values]

  def penalty(step):
    moved = [v + step * d for v, d in zip(values, direction)]
    return 0.7 * np.mean(np.sum(pre_activation(moved) ** 2, axis=-1))

  added = sum(
    np.sum((x - y).numpy() * d) for x, y, d in zip(regularised, without, direction)
  )
  numeric = (penalty(1e-6) - penalty(-1e-6)) / 2e-6
  assert abs(numeric) > 1e-3
  np.testing.assert_allclose(added, numeric, rtol=1e-3)


def test_two_point_critics_and_one_dropped_are_clipped_double_q_learning():
  run = _make('ddpg', num_critics=2, num_dropped_samples=1)
  learner, (first, second) = run.learner, run.networks.critic.members
  for target, seed in zip(run.parts['target_critic'].members, (0, 1)):
    rng = np.random.default_rng(seed)
    for variable in target.variables:
      variable.assign_add(0.3 * rng.normal(size=variable.shape))
  batch = learner._prepare(_transition(0))
  outcome, noise = batch.outcome, tf.zeros([B, 0])
  next_action = run.parts['target_policy'](outcome.next_observation)
  next_q = [
    member(outcome.next_observation, next_action, noise).numpy()
    for member in run.parts['target_critic'].members
  ]
  assert 0 < np.sum(next_q[0] < next_q[1]) < B
  y = outcome.reward + outcome.discount * np.minimum(*next_q)
  seeds = learner._draw_seeds()
  target = learner._bellman_target(batch, seeds)
  np.testing.assert_allclose(target[:, 0, 0], y, rtol=1e-5, atol=1e-5)
  _, metrics = learner._critic_gradients(batch, target, seeds.critic)
  q = [member(batch.observation, batch.action, noise) for member in (first, second)]
  loss = np.mean([np.mean((x - y) ** 2) for x in q])
  np.testing.assert_allclose(metrics['critic_loss'], loss, rtol=1e-4)


def test_of_several_critics_each_return_keeps_the_gradient_of_its_own_critic():
  kind = dict(critic='point', num_dropped_samples=0)
  both = _make('dsdpg_anchored', num_critics=2, **kind)
  members = both.parts['target_critic'].members
  for seed, member in enumerate(members):
    rng = np.random.default_rng(seed)
    for variable in member.variables:
      variable.assign_add(0.3 * rng.normal(size=variable.shape))
  alone = _make('dsdpg_anchored', **kind)

  def target(run):
    learner = run.learner
    return learner._bellman_target(
      learner._prepare(_transition(0)), learner._draw_seeds()
    ).numpy()

  pooled = target(both)
  for i, member in enumerate(members):
    alone.parts['target_critic'].set_weights(member.get_weights())
    np.testing.assert_allclose(pooled[:, i], target(alone)[:, 0], rtol=1e-4, atol=1e-5)
  both.learner._config = dataclasses.replace(both.config, num_dropped_samples=1)
  smaller = np.argmin(pooled[..., 0], axis=1)
  assert 0 < np.sum(smaller) < B
  np.testing.assert_allclose(
    target(both)[:, 0], pooled[np.arange(B), smaller], rtol=1e-4, atol=1e-5
  )


def test_each_of_several_critics_has_weights_and_samples_of_its_own():
  run = _make('dsdpg_anchored', num_critics=2, num_dropped_samples=2)
  before, after = _run(run, 2)[::2]
  size = len(before['critic']) // 2
  for values in (before, after):
    pairs = zip(values['critic'][:size], values['critic'][size:])
    assert any(np.any(a != b) for a, b in pairs)
  for old, new in zip(before['critic'], after['critic']):
    assert np.any(old != new)
  learner = run.learner
  batch, seeds = learner._prepare(_transition(0)), learner._draw_seeds()
  assert learner._bellman_target(batch, seeds).shape == [B, 2 * M - 2, 1 + S + A]
  one = _make('dsdpg_anchored')
  for a, b in zip(_snapshot(one)['critic'], before['critic']):
    np.testing.assert_array_equal(a, b)


def test_a_one_step_model_gives_the_gradient_and_the_n_steps_the_return():
  def target(transition, **overrides):
    learner = _make('dsdpg_anchored', **overrides).learner
    return learner._bellman_target(learner._prepare(transition), learner._draw_seeds())

  t = _transition(0)
  first_step = types.Transition(t.observation, t.action, *t.extras)
  actual = target(t, targets='anchored_one_step')
  n_step_target = target(t, targets='anchored')
  one_step_target = target(first_step, targets='anchored')
  np.testing.assert_allclose(actual[..., 0], n_step_target[..., 0], rtol=1e-5)
  np.testing.assert_allclose(actual[..., 1:], one_step_target[..., 1:], rtol=1e-4)
  assert np.max(np.abs(actual - n_step_target)[..., 1:]) > 0.01
  assert np.max(np.abs(actual - one_step_target)[..., 0]) > 0.01


def test_one_gamma_is_left_to_the_learner():
  rows = []
  for gamma in (0.4, 0.8):
    run = _make('ddpg', discount=gamma)
    run.learner.step()
    rows.append(run.rows[0])
  reward = np.mean(_transition(0).reward)
  bootstrap = [row['target_mean'] - reward for row in rows]
  np.testing.assert_allclose(bootstrap[1], 2.0 * bootstrap[0], rtol=1e-3)


# Kernels from the config.

Z, DS, DA = 1, S, A
LAYOUT = {'none': [Z], 'action': [Z, DA], 'state_action': [Z, DS, DA]}


@pytest.mark.parametrize('sobolev', config_lib.SOBOLEV)
@pytest.mark.parametrize('kernel', config_lib.KERNELS)
def test_kernel_is_the_configs_with_weights_by_block(kernel, sobolev):
  config = config_lib.DSDPGConfig(
    sobolev=sobolev,
    targets='reconstructed',
    kernel=kernel,
    multiquadric_h=3.0,
    rbf_bandwidths=(0.5, 2.0),
    rational_quadratic_alpha=1.5,
    return_kernel_weight=3.0,
    linear_return_weight=7.0,
    linear_gradient_weight=0.25,
    action_gradient_scale=2.0,
    state_gradient_scale=0.5,
  )
  base = {
    'multiquadric': lambda x, y: oracle_kernels.multiquadric(x, y, 3.0),
    'rbf': lambda x, y: oracle_kernels.rbf(x, y, (0.5, 2.0)),
    'rational_quadratic': lambda x, y: oracle_kernels.rational_quadratic(x, y, 1.5),
    'linear': oracle_kernels.linear,
  }[kernel]
  scales = {'none': [], 'action': [2.0] * A, 'state_action': [0.5] * S + [2.0] * A}
  size = sum(LAYOUT[sobolev])
  x, y = np.random.default_rng(0).normal(size=(2, size))
  of_sample = oracle_kernels.scaled(base, [1.0, *scales[sobolev]])(x, y)
  of_sample += 0.25 * oracle_kernels.linear(x[1:], y[1:])
  of_return = 7.0 * x[0] * y[0]
  if sobolev != 'none':
    of_return += 3.0 * base(x[:1], y[:1])
  (kernel,) = critic_kernels.make_kernels(config, S, A)
  actual = kernel(tf.constant(x), tf.constant(y))
  np.testing.assert_allclose(actual, of_sample + of_return, rtol=1e-12)
  if sobolev != 'none':  # To be bounded, what is on the return alone stands apart.
    config = dataclasses.replace(config, max_sobolev_ratio=0.5)
    parts = [
      k(tf.constant(x), tf.constant(y)) for k in critic_kernels.make_kernels(config, S, A)
    ]
    np.testing.assert_allclose(parts, [of_return, of_sample], rtol=1e-12)


def test_the_papers_kernel_is_the_plain_multiquadric():
  config = config_lib.make_config({'agent': 'dsdpg'}).dsdpg
  assert critic_kernels.make_kernels(config, S, A) == [kernels.Multiquadric(100.0)]


@pytest.mark.parametrize('agent', ['dsdpg_anchored', 'sobolev_ddpg'])
def test_the_gradients_share_of_the_critics_update_is_bounded(agent):
  def gradient(ratio):
    run = _make(agent, max_sobolev_ratio=ratio, num_critics=2)
    learner = run.learner
    seeds, batch = learner._draw_seeds(), learner._prepare(_transition(0))
    target = learner._bellman_target(batch, seeds)
    gradients, metrics = learner._critic_gradients(batch, target, seeds.critic)
    return np.concatenate([np.ravel(g) for g in gradients]), metrics

  whole, metrics = gradient(0.0)
  assert 'bounding_weight' not in metrics
  of_return, _ = gradient(1e-9)
  rest, norm = whole - of_return, np.linalg.norm
  ratio = 0.5 * norm(rest) / norm(of_return)  # Half of it is too much.
  bounded, metrics = gradient(ratio)
  np.testing.assert_allclose(metrics['bounding_weight'], 0.5, rtol=1e-4)
  np.testing.assert_allclose(bounded, of_return + 0.5 * rest, atol=1e-5 * norm(whole))
  unbounded, metrics = gradient(3.0 * ratio)
  assert metrics['bounding_weight'] == 1.0
  np.testing.assert_allclose(unbounded, whole, atol=1e-5 * norm(whole))


def test_nothing_is_learned_of_gradients_where_no_return_is():
  zeros, ones = [tf.zeros(3)], [tf.ones(3)]
  assert learning.bounding_weight(zeros, ones, 0.5) == 0.0
  assert learning.bounding_weight(ones, zeros, 0.5) == 1.0
  assert learning.bounding_weight(ones, ones, 0.5) == 0.5


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


# What is not finite.


def _poisoned(run, field, value):
  transition = _transition(9)
  poisoned = np.array(getattr(transition, field))
  poisoned.flat[3] = value
  run.learner._iterator = iter(
    [reverb.ReplaySample(info=None, data=transition._replace(**{field: poisoned}))]
  )


@pytest.mark.parametrize('jit_compile', [False, True])
def test_an_update_that_is_not_finite_changes_nothing_and_is_counted(jit_compile):
  run = _make('dsdpg', jit_compile=jit_compile, hidden_sizes=(8, 8))
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
    slots = [v.numpy() for v in run.learner._optimizers['critic'].variables()]
    _poisoned(run, field, value)
    run.learner.step()
    after = _snapshot(run)
    for name in ('normalizer', 'world_model', 'critic', 'policy'):
      for a, b in zip(before[name], after[name]):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(slots, run.learner._optimizers['critic'].variables()):
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
  arrays = learning.named_arrays(error.value.batch)
  assert np.isnan(arrays['reward']).sum() == 1
  assert arrays['first_step_next_observation'].shape == (B, S)


def test_a_world_model_that_diverges_is_warned_of(caplog):
  run = _make('dsdpg')
  watch = run.learner._watch_world_model
  for error in (2.0, 1.0, 25.0):
    watch(np.float32(error))
  assert not caplog.records
  watch(np.float32(31.0))
  assert 'world model diverges' in caplog.text
  watch(None)
