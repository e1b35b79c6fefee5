"""Networks against a forward pass in NumPy, and what the agent needs of them."""

from acme import specs
import numpy as np
import pytest
import tensorflow as tf

from acme_dsdpg import config as config_lib
from acme_dsdpg import networks as networks_lib
from acme_dsdpg.agent import presets
from acme_dsdpg.networks import layers
from tests.oracles import mlp as oracle

S, A, K, N = 3, 2, 4, 5
LOW, HIGH = np.array([-1.0, -2.0]), np.array([1.0, 6.0])


def _spec(observations=None, actions=None):
  return specs.EnvironmentSpec(
    observations=observations or specs.Array((S,), np.float32),
    actions=actions or specs.BoundedArray((A,), np.float32, LOW, HIGH),
    rewards=specs.Array((), np.float32),
    discounts=specs.BoundedArray((), np.float32, 0.0, 1.0),
  )


def _make(seed=0, dtype=tf.float64, **overrides):
  sizes = dict(hidden_sizes=(6, 6), world_model_hidden_sizes=(6, 6, 6), noise_dim=K)
  paper = dict(critic='samples', world_model='cvae', targets='reconstructed')
  config = config_lib.DSDPGConfig(**{**sizes, **paper, **overrides})
  return networks_lib.make_networks(_spec(), config, seed, dtype)


def _random(*shapes, seed=0):
  rng = np.random.default_rng(seed)
  return [tf.constant(rng.normal(size=shape)) for shape in shapes]


def _randomize(network, seed=0):
  """Biases, scales and offsets start at 0 or 1, which would hide mistakes."""
  rng = np.random.default_rng(seed)
  for variable in network.variables:
    variable.assign_add(0.5 * rng.normal(size=variable.shape))


def _weights(network, prefix=''):
  """By the last two parts of their names, such as hidden_0/kernel."""
  chosen = [v for v in network.variables if prefix in v.name]
  return {'/'.join(v.name.split(':')[0].split('/')[-2:]): v.numpy() for v in chosen}


def _oracle_rows(network, rows, prefix='', **kwargs):
  w = _weights(network, prefix)
  count = lambda stem: sum(name.startswith(stem) for name in w) // 2
  pair = lambda name: (w[f'{name}/kernel'], w[f'{name}/bias'])
  norms = [(w[f'norm_{i}/scale'], w[f'norm_{i}/offset']) for i in range(count('norm'))]
  hidden = [pair(f'hidden_{i}') for i in range(count('hidden'))]
  return np.array(
    [oracle.forward(x, hidden, pair('output'), norms=norms, **kwargs) for x in rows]
  )


# Forward passes.


@pytest.mark.parametrize(
  ('hidden_sizes', 'residual', 'norm'),
  [
    ((6, 6), True, None),
    ((6, 6), True, 'first'),
    ((6, 6), False, None),
    ((6, 6, 6), False, 'after'),
    ((4, 6), True, None),  # The sizes of the first two agree with the input's.
    ((6, 5), True, 'first'),  # No two agree.
  ],
)
def test_mlp_equals_the_oracle(hidden_sizes, residual, norm):
  mlp = layers.MLP(hidden_sizes, 2, 0, residual=residual, norm=norm, dtype=tf.float64)
  (x,) = _random((N, 4))
  mlp(x)
  _randomize(mlp)
  expected = _oracle_rows(mlp, x.numpy(), residual=residual, norm=norm)
  np.testing.assert_allclose(mlp(x), expected, rtol=1e-10)


def test_without_skips_the_input_enters_the_first_layer_alone():
  mlp = layers.MLP((6, 7), 2, 0, skips=False, dtype=tf.float64)
  (x,) = _random((N, 4))
  mlp(x)
  _randomize(mlp)
  w = _weights(mlp)
  assert [w[f'hidden_{i}/kernel'].shape for i in range(2)] == [(4, 6), (6, 7)]
  h = x.numpy()
  for name in ('hidden_0', 'hidden_1'):
    u = h @ w[f'{name}/kernel'] + w[f'{name}/bias']
    h = u / (1.0 + np.exp(-u))
  np.testing.assert_allclose(mlp(x), h @ w['output/kernel'] + w['output/bias'])


@pytest.mark.parametrize(('layer_norm', 'norm'), [(False, None), (True, 'first')])
def test_policy_is_the_mlp_with_residuals_then_tanh_onto_the_bounds(layer_norm, norm):
  policy = _make(layer_norm=layer_norm).policy
  _randomize(policy)
  (s,) = _random((N, S))
  raw = _oracle_rows(policy, s.numpy(), residual=True, norm=norm)
  expected = LOW + (np.tanh(raw) + 1.0) / 2.0 * (HIGH - LOW)
  np.testing.assert_allclose(policy(s), expected, rtol=1e-10)


@pytest.mark.parametrize(('layer_norm', 'norm'), [(False, None), (True, 'first')])
def test_critic_is_the_mlp_with_residuals_of_state_action_and_noise(layer_norm, norm):
  critic = _make(layer_norm=layer_norm).critic
  _randomize(critic)
  inputs = _random((N, S), (N, A), (N, K))
  rows = np.concatenate(inputs, axis=-1)
  expected = _oracle_rows(critic, rows, residual=True, norm=norm)
  np.testing.assert_allclose(critic(*inputs), expected[:, 0], rtol=1e-10)


def test_encoder_and_decoder_are_the_mlp_with_norms_after_without_residuals():
  model = _make().world_model
  _randomize(model)
  s, a, reward, next_s, eps = _random((N, S), (N, A), (N,), (N, S), (N, S + 1))
  rows = np.concatenate([s, a, reward[:, None], next_s], axis=-1)
  expected = _oracle_rows(model, rows, 'encoder', norm='after')
  posterior = model.encode(s, a, reward, next_s)
  np.testing.assert_allclose(posterior.mean(), expected[:, : S + 1], rtol=1e-10)
  std = np.log1p(np.exp(expected[:, S + 1 :])) + 1e-3
  np.testing.assert_allclose(posterior.stddev(), std, rtol=1e-10)

  rows = np.concatenate([s, a, eps], axis=-1)
  expected = _oracle_rows(model, rows, 'decoder', norm='after')
  predicted_reward, predicted_s = model.decode(s, a, eps)
  np.testing.assert_allclose(predicted_reward, expected[:, 0], rtol=1e-10)
  np.testing.assert_allclose(predicted_s, s + expected[:, 1:], rtol=1e-10)


def test_layer_norm_equals_the_oracle():
  norm = layers.LayerNorm(dtype=tf.float64)
  (x,) = _random((N, 7))
  norm(x)
  _randomize(norm)
  expected = [
    oracle.layer_norm(row, norm.scale.numpy(), norm.offset.numpy()) for row in x
  ]
  np.testing.assert_allclose(norm(x), expected, rtol=1e-10)


def test_hidden_layers_take_the_input_again():
  networks = _make(hidden_sizes=(6, 7))
  for network, size in ((networks.policy, S), (networks.critic, S + A + K)):
    w = _weights(network)
    assert w['hidden_0/kernel'].shape == (size, 6)
    assert w['hidden_1/kernel'].shape == (6 + size, 7)
    assert w['output/kernel'].shape[0] == 7
  decoder = _weights(networks.world_model, 'decoder')
  assert decoder['hidden_2/kernel'].shape == (6 + S + A + S + 1, 6)


# Shapes and ranges.


def test_shapes():
  networks = _make()
  s, a, xi, reward = _random((N, S), (N, A), (N, K), (N,))
  assert networks.normalizer(s).shape == [N, S]
  assert networks.policy(s).shape == [N, A]
  assert networks.make_acting_policy()(s).shape == [N, A]
  assert networks.critic(s, a, xi).shape == [N]
  posterior = networks.world_model.encode(s, a, reward, s)
  assert (posterior.batch_shape, posterior.event_shape) == ([N], [S + 1])
  assert networks.world_model.prior().event_shape == [S + 1]
  predicted_reward, predicted_s = networks.world_model.decode(s, a, posterior.mean())
  assert (predicted_reward.shape, predicted_s.shape) == ([N], [N, S])


@pytest.mark.parametrize('dtype', [tf.float32, tf.float64])
def test_weights_and_outputs_have_the_type_asked_for(dtype):
  networks = _make(dtype=dtype)
  s = tf.ones([N, S], dtype)
  parts = (networks.normalizer, networks.policy, networks.critic, networks.world_model)
  assert {v.dtype for part in parts for v in part.variables} == {dtype}
  assert networks.policy(networks.normalizer(s)).dtype == dtype
  assert networks.world_model.prior().dtype == dtype


def test_policy_starts_near_the_middle_of_the_bounds():
  policy = _make(hidden_sizes=(64, 64)).policy
  (s,) = _random((1_000, S))
  from_centre = np.abs(policy(s) - (LOW + HIGH) / 2.0) / ((HIGH - LOW) / 2.0)
  assert 0.0 < np.max(from_centre) < 0.1


def test_policy_reaches_its_bounds_and_stays_within_them():
  policy = _make().policy
  _randomize(policy)
  (s,) = _random((1_000, S))
  actions = policy(100.0 * s).numpy()
  np.testing.assert_allclose(actions.min(0), LOW, rtol=1e-6)
  np.testing.assert_allclose(actions.max(0), HIGH, rtol=1e-6)
  assert np.all((LOW <= actions) & (actions <= HIGH))


def test_scalar_bounds_are_broadcast():
  spec = _spec(actions=specs.BoundedArray((A,), np.float32, -3.0, 1.0))
  config = config_lib.DSDPGConfig(hidden_sizes=(6,), world_model_hidden_sizes=(6,))
  policy = networks_lib.make_networks(spec, config).policy
  np.testing.assert_allclose(policy(tf.zeros([1, S])), [[-1.0] * A], atol=1e-6)


@pytest.mark.parametrize('predictive', [False, True])
def test_the_papers_critic_has_noise_inputs_the_others_the_predicted_outcome(predictive):
  switches = dict(world_model='mean', targets='anchored', predictive_critic=predictive)
  of_others = S + A + (1 + S) * predictive
  for critic, size in (
    ('point', of_others),
    ('features', of_others),
    ('samples', S + A + K),
  ):
    kernel = _weights(_make(critic=critic, **switches).critic)['hidden_0/kernel']
    assert kernel.shape == (size, 6)


@pytest.mark.parametrize('kind', ['mean', 'residual_cvae'])
def test_the_critic_sees_what_the_world_models_mean_predicts(kind):
  networks = _make(critic='features', world_model=kind, targets='anchored')
  s, a = _random((N, S), (N, A))
  for change in (0.0, 0.3):
    for variable in networks.world_model._mean.variables:
      variable.assign_add(change * tf.ones_like(variable))
    outcome = networks.world_model.mean(s, a)
    x = tf.concat([s, a, outcome[:, :1], s + outcome[:, 1:]], axis=-1)
    np.testing.assert_allclose(networks.critic(s, a), networks.critic._mlp(x), rtol=1e-9)


def test_no_world_model_without_reconstructions():
  assert _make(sobolev='none', targets='observed').world_model is None


def test_world_models_spread_is_never_zero():
  model = _make().world_model
  model._encoder.variables[-1].assign(np.full(2 * (S + 1), -1e3))
  s, a, reward = _random((N, S), (N, A), (N,))
  np.testing.assert_allclose(model.encode(s, a, reward, s).stddev(), 1e-3, rtol=1e-6)


# Derivatives.


def test_critics_second_derivative_is_the_difference_of_its_first():
  critic = _make().critic
  _randomize(critic)
  s, a, xi = _random((N, S), (N, A), (N, K))

  def slope(a):
    with tf.GradientTape() as tape:
      tape.watch(a)
      z = critic(s, a, xi)
    return tape.gradient(z, a)

  with tf.GradientTape() as tape:
    tape.watch(a)
    first = slope(a)
  hessian = tape.batch_jacobian(first, a)
  for i in range(A):
    move = 1e-6 * tf.one_hot(i, A, dtype=tf.float64)
    numeric = (slope(a + move) - slope(a - move)) / 2e-6
    np.testing.assert_allclose(hessian[:, :, i], numeric, rtol=1e-5, atol=1e-7)
  assert np.all(np.abs(hessian) > 0.0)


def test_swish_is_tensorflows():
  (x,) = _random((N, 3))
  np.testing.assert_allclose(layers.swish(x), tf.nn.swish(x), rtol=1e-12)


# The normalizer.


def test_running_statistics_are_those_of_all_batches_together():
  normalizer = networks_lib.Normalizer(S, dtype=tf.float64)
  rng = np.random.default_rng(0)
  batches = [
    3.0 * rng.normal(size=(size, S)) + shift for size, shift in ((4, 1), (7, -2))
  ]
  for batch in batches:
    normalizer.update(tf.constant(batch))
  together = np.concatenate(batches)
  assert normalizer.count == len(together)
  np.testing.assert_allclose(normalizer.mean, together.mean(0), rtol=1e-12)
  np.testing.assert_allclose(normalizer.variance, together.var(0), rtol=1e-12)


def test_normalizer_standardises_and_clips_at_ten_deviations():
  normalizer = networks_lib.Normalizer(1, dtype=tf.float64)
  normalizer.update(tf.constant([[1.0], [5.0]], tf.float64))  # Mean 3, deviation 2.
  normalised = normalizer(tf.constant([[3.0], [4.0], [1e3], [-1e3]], tf.float64))
  np.testing.assert_allclose(normalised, [[0.0], [0.5], [10.0], [-10.0]], atol=1e-6)


def test_normalizer_without_updates_leaves_ordinary_observations():
  (s,) = _random((N, S))
  normalizer = networks_lib.Normalizer(S, dtype=tf.float64)
  np.testing.assert_allclose(normalizer(s), s, rtol=1e-6)


def test_a_disabled_normalizer_is_the_identity_and_keeps_no_statistics():
  normalizer = _make(normalize_observations=False).normalizer
  (s,) = _random((N, S))
  normalizer.update(s)
  np.testing.assert_array_equal(normalizer(1e3 * s), 1e3 * s)
  assert normalizer.count == 0.0


def test_constant_observations_stay_finite():
  normalizer = networks_lib.Normalizer(S)
  normalizer.update(tf.ones([N, S]))
  np.testing.assert_array_equal(normalizer(tf.ones([N, S])), np.zeros([N, S]))


def test_statistics_are_weights_but_not_trained():
  networks = _make()
  assert networks.normalizer.trainable_variables == []
  acting = {v.ref() for v in networks.make_acting_policy().variables}
  expected = (*networks.normalizer.variables, *networks.policy.variables)
  assert acting == {v.ref() for v in expected}


def test_acting_policy_normalises_and_shares_weights():
  networks = _make()
  acting = networks.make_acting_policy()
  _randomize(networks.policy)
  s, seen = _random((N, S), (8, S))
  networks.normalizer.update(5.0 + seen)
  mean, std = 5.0 + seen.numpy().mean(0), seen.numpy().std(0)
  expected = networks.policy((5.0 + s - mean) / std)
  np.testing.assert_allclose(acting(5.0 + s), expected, rtol=1e-4)


# The factory.


def _all_weights(networks):
  parts = (networks.policy, networks.critic, networks.world_model)
  return [v.numpy() for part in parts if part is not None for v in part.variables]


def test_same_seed_same_weights_another_seed_others():
  first, second, other = (_all_weights(_make(seed)) for seed in (1, 1, 2))
  for a, b in zip(first, second):
    np.testing.assert_array_equal(a, b)
  assert any(np.any(a != b) for a, b in zip(first, other))


def test_no_two_layers_of_a_network_start_alike():
  critic = _weights(_make(hidden_sizes=(6, 6, 6), noise_dim=1).critic)
  assert critic['hidden_1/kernel'].shape == critic['hidden_2/kernel'].shape
  assert np.all(critic['hidden_1/kernel'] != critic['hidden_2/kernel'])


def test_all_presets_start_from_the_same_policy():
  policies = [_make(**preset).policy for preset in presets.PRESETS.values()]
  for policy in policies[1:]:
    for a, b in zip(policies[0].get_weights(), policy.get_weights()):
      np.testing.assert_array_equal(a, b)


def _bounded(low, high, shape=(A,), dtype=np.float32):
  return specs.BoundedArray(shape, dtype, low, high)


@pytest.mark.parametrize(
  ('refused', 'message'),
  [
    (_spec(observations={'a': specs.Array((S,), np.float32)}), 'one flat vector'),
    (_spec(observations=specs.Array((S, 2), np.float32)), 'environments.wrap'),
    (_spec(observations=specs.Array((), np.float32)), 'one flat vector'),
    (_spec(actions=specs.DiscreteArray(3)), 'continuous with bounds'),
    (_spec(actions=specs.Array((A,), np.float32)), 'continuous with bounds'),
    (_spec(actions=_bounded(0, 2, dtype=np.int32)), 'one vector of floats'),
    (_spec(actions=_bounded(-1.0, 1.0, (2, 2))), 'one vector of floats'),
    (_spec(actions=_bounded(-1.0, np.inf)), 'must be finite'),
    (_spec(actions=_bounded([-1.0, 1.0], 1.0)), 'minimum below maximum'),
  ],
)
def test_specs_the_agent_cannot_handle_are_refused(refused, message):
  with pytest.raises(config_lib.ConfigError, match=message):
    networks_lib.make_networks(refused, config_lib.DSDPGConfig())


def test_the_spec_of_a_flat_continuous_task_is_accepted():
  networks_lib.check_spec(_spec())
