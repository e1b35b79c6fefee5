"""Sobolev samples and targets against the oracle and finite differences."""

import numpy as np
import pytest
import tensorflow as tf

from acme_dsdpg import networks as networks_lib
from acme_dsdpg.losses import jacobians, kernels, mmd, sobolev
from tests.losses import problems
from tests.losses.problems import A, B, ClosedForm, Inputs, M, RealNetworks, S
from tests.oracles import sobolev as oracle

WRT = ('none', 'action', 'state_action')
GRADIENTS = ('action', 'state_action')
anchored_or_not = pytest.mark.parametrize(
  'anchored', [False, True], ids=['reconstructed', 'anchored']
)


@pytest.fixture(scope='module')
def networks():
  return problems.shared(RealNetworks)


def _samples(problem, inputs, wrt, **replaced):
  values = {**vars(inputs), **replaced}
  return sobolev.sobolev_samples(
    problem.critic, values['observation'], values['action'], values['noise'], wrt
  )


def _oracle_target(problem, inputs, wrt, anchored, **kwargs):
  rows = []
  for b in range(inputs.observation.shape[0]):
    observed = (inputs.reward[b].numpy(), inputs.next_observation[b].numpy())
    rows.append(
      oracle.target(
        problem.oracle_model,
        problem.oracle_policy,
        problem.oracle_critic,
        inputs.observation[b].numpy(),
        inputs.action[b].numpy(),
        inputs.eps[b].numpy(),
        float(inputs.discount[b]),
        inputs.noise[b].numpy(),
        wrt,
        observed if anchored else None,
        **kwargs,
      )
    )
  return np.array(rows)


def _moved(x, coordinate, step):
  return x + step * tf.one_hot(coordinate, x.shape[-1], dtype=x.dtype)


# Samples.


@pytest.mark.parametrize('wrt', WRT)
def test_samples_equal_the_oracle(wrt):
  problem, inputs = ClosedForm(), Inputs()
  rows = zip(inputs.observation, inputs.action, inputs.noise)
  expected = [
    oracle.samples(problem.oracle_critic, s.numpy(), a.numpy(), xi.numpy(), wrt)
    for s, a, xi in rows
  ]
  np.testing.assert_allclose(_samples(problem, inputs, wrt), expected, rtol=1e-10)


@pytest.mark.parametrize(
  ('name', 'first', 'size'), [('observation', 1, S), ('action', 1 + S, A)]
)
def test_input_gradients_are_finite_differences(networks, name, first, size):
  inputs, step = Inputs(), 1e-6
  x = _samples(networks, inputs, 'state_action')
  for i in range(size):
    z = [
      _samples(networks, inputs, 'none', **{name: _moved(getattr(inputs, name), i, h)})
      for h in (step, -step)
    ]
    numeric = (z[0] - z[1])[..., 0] / (2.0 * step)
    np.testing.assert_allclose(x[..., first + i], numeric, rtol=1e-6, atol=1e-8)


def test_samples_without_gradients_are_the_critics_returns_exactly(networks):
  inputs = Inputs()
  z = networks.critic(
    tf.repeat(inputs.observation, M, axis=0),
    tf.repeat(inputs.action, M, axis=0),
    tf.reshape(inputs.noise, [B * M, -1]),
  )
  plain = tf.reshape(z, [B, M, 1])
  np.testing.assert_array_equal(_samples(networks, inputs, 'none'), plain)
  for wrt in GRADIENTS:
    x = _samples(networks, inputs, wrt)
    np.testing.assert_array_equal(x[..., :1], plain)


def test_each_pair_keeps_its_own_noise_and_its_copies_beside_each_other():
  inputs = Inputs()
  x = _samples(ClosedForm(), inputs, 'none')
  for b in range(B):
    alone = Inputs()
    for name in ('observation', 'action', 'noise'):
      setattr(alone, name, getattr(inputs, name)[b : b + 1])
    np.testing.assert_allclose(x[b], _samples(ClosedForm(), alone, 'none')[0], rtol=1e-12)


@pytest.mark.parametrize(
  'kernel',
  [
    kernels.Multiquadric(1.0),
    kernels.Multiquadric(100.0),
    kernels.RBF((0.5, 1.0, 10.0)),
    kernels.RationalQuadratic(),
  ],
  ids=repr,
)
def test_mmds_weight_gradient_through_the_input_gradients_is_the_finite_difference(
  networks, kernel
):
  inputs = Inputs()
  y = _samples(RealNetworks(seed=1), inputs, 'state_action')
  loss = lambda: tf.reduce_mean(
    mmd.mmd2(_samples(networks, inputs, 'state_action'), y, kernel)
  )
  slope, numeric = problems.slope_and_difference(
    loss, networks.critic.trainable_variables
  )
  assert abs(slope) > 1e-3
  np.testing.assert_allclose(slope, numeric, rtol=1e-5)


@pytest.mark.parametrize('wrt', GRADIENTS)
def test_no_weights_second_order_gradient_is_missing(networks, wrt):
  variables = networks.critic.trainable_variables
  with tf.GradientTape() as tape:
    gradient_part = tf.reduce_sum(_samples(networks, Inputs(), wrt)[..., 1:] ** 2)
  for variable, gradient in zip(variables, tape.gradient(gradient_part, variables)):
    moves_the_return_alone = variable.name.endswith('output/bias:0')
    assert np.any(gradient.numpy() != 0.0) != moves_the_return_alone


# Targets.


@anchored_or_not
@pytest.mark.parametrize('wrt', WRT)
def test_target_equals_the_oracle(wrt, anchored):
  expected = _oracle_target(problems.shared(ClosedForm), Inputs(), wrt, anchored)
  actual = problems.target(ClosedForm, wrt, anchored).value
  np.testing.assert_allclose(actual, expected, rtol=1e-10, atol=1e-12)


@anchored_or_not
@pytest.mark.parametrize('wrt', WRT)
def test_target_equals_the_plain_form_on_the_real_networks(wrt, anchored):
  factored = problems.target(RealNetworks, wrt, anchored).value
  plain = problems.target(RealNetworks, wrt, anchored, plain=True).value
  assert factored.shape == (B, M, {'none': 1, 'action': 1 + A}.get(wrt, 1 + S + A))
  np.testing.assert_allclose(factored, plain, rtol=1e-9, atol=1e-9)


@anchored_or_not
@pytest.mark.parametrize('plain', [False, True])
@pytest.mark.parametrize('wrt', WRT)
def test_target_is_a_constant(wrt, plain, anchored):
  gradients = problems.target(RealNetworks, wrt, anchored, plain).gradients
  assert len(gradients) > 20
  assert all(gradient is None for gradient in gradients)


@pytest.mark.parametrize('plain', [False, True])
def test_targets_gradient_is_the_finite_difference_of_its_value(networks, plain):
  step = 1e-6
  rows = problems.target(RealNetworks, 'state_action', False, plain).value
  for name, first in (('observation', 1), ('action', 1 + S)):
    for i in range(getattr(Inputs(), name).shape[-1]):
      y = []
      for h in (step, -step):
        inputs = Inputs()
        setattr(inputs, name, _moved(getattr(inputs, name), i, h))
        y.append(problems.compute_target(networks, inputs, 'none'))
      numeric = (y[0] - y[1])[..., 0] / (2.0 * step)
      np.testing.assert_allclose(rows[..., first + i], numeric, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize('wrt', GRADIENTS)
def test_targets_gradient_carries_the_discount_that_the_papers_eq_28_drops(wrt):
  actual = problems.target(ClosedForm, wrt, anchored=False).value
  problem = problems.shared(ClosedForm)
  printed = _oracle_target(problem, Inputs(), wrt, anchored=False, printed=True)
  np.testing.assert_allclose(actual[..., 0], printed[..., 0], rtol=1e-10)
  assert np.max(np.abs(actual - printed)) > 0.1


@pytest.mark.parametrize('wrt', WRT)
def test_discount_zero_leaves_the_reward_and_its_gradient(wrt):
  model, inputs = problems.shared(ClosedForm).oracle_model, Inputs()
  assert inputs.discount[0] == 0.0
  s, a, eps = (x[0].numpy() for x in (inputs.observation, inputs.action, inputs.eps))
  jacobian = model.jacobians(s, a, eps)[0]
  gradient = {'none': [], 'action': jacobian[S:], 'state_action': jacobian}[wrt]
  row = [model.value(s, a, eps)[0], *gradient]
  actual = problems.target(ClosedForm, wrt, anchored=False).value
  np.testing.assert_allclose(actual[0], [row] * M, rtol=1e-10)


def _observed_target(networks, inputs):
  return sobolev.sobolev_target(
    lambda s, a: (inputs.reward, inputs.next_observation),
    networks.policy,
    networks.critic,
    inputs.observation,
    inputs.action,
    inputs.discount,
    inputs.noise,
    'none',
  )


def test_target_without_gradients_is_reward_plus_discounted_return_exactly(networks):
  inputs = Inputs()
  next_action = networks.policy(inputs.next_observation)
  z = sobolev.sobolev_samples(
    networks.critic, inputs.next_observation, next_action, inputs.noise, 'none'
  )
  expected = inputs.reward[:, None, None] + inputs.discount[:, None, None] * z
  np.testing.assert_array_equal(_observed_target(networks, inputs), expected)


@anchored_or_not
@pytest.mark.parametrize('wrt', GRADIENTS)
def test_values_are_the_same_with_and_without_gradients(wrt, anchored):
  with_gradients = problems.target(RealNetworks, wrt, anchored).value
  without = problems.target(RealNetworks, 'none', anchored).value
  np.testing.assert_allclose(with_gradients[..., :1], without, rtol=1e-12)


@pytest.mark.parametrize('wrt', WRT)
def test_one_of_each_works(wrt):
  problem = ClosedForm(state=1, action=1, noise=1)
  inputs = Inputs(batch=1, samples=1, state=1, action=1, noise=1)
  inputs.discount = problems.constant([0.9])
  size = {'none': 1, 'action': 2, 'state_action': 3}[wrt]
  actual = problems.compute_target(problem, inputs, wrt)
  assert _samples(problem, inputs, wrt).shape == actual.shape == [1, 1, size]
  expected = _oracle_target(problem, inputs, wrt, anchored=False)
  np.testing.assert_allclose(actual, expected, rtol=1e-10)


def test_eager_equals_compiled():
  problem = problems.shared(ClosedForm)

  @tf.function(jit_compile=True)
  def compiled():
    actual = problems.compute_target(problem, Inputs(), 'state_action', anchored=True)
    return _samples(problem, Inputs(), 'state_action'), actual

  samples, actual = compiled()
  eager = _samples(problem, Inputs(), 'state_action')
  np.testing.assert_allclose(samples, eager, rtol=1e-9, atol=1e-12)
  eager = problems.target(ClosedForm, 'state_action', anchored=True).value
  np.testing.assert_allclose(actual, eager, rtol=1e-9, atol=1e-12)


# Anchored models.


def test_anchored_model_has_the_observed_values_and_the_models_derivatives(networks):
  inputs = Inputs()
  decode = networks.model(inputs.eps)
  anchored = sobolev.anchored(decode, inputs.reward, inputs.next_observation)
  outcomes, jacobians = [], []
  for model in (decode, anchored):
    x = tf.concat([inputs.observation, inputs.action], -1)
    with tf.GradientTape() as tape:
      tape.watch(x)
      reward, state = model(x[:, :S], x[:, S:])
      outcome = tf.concat([reward[:, tf.newaxis], state], -1)
    outcomes.append(outcome)
    jacobians.append(tape.batch_jacobian(outcome, x))
  observed = tf.concat([inputs.reward[:, tf.newaxis], inputs.next_observation], -1)
  np.testing.assert_allclose(outcomes[1], observed, rtol=1e-12)
  np.testing.assert_allclose(jacobians[1], jacobians[0], rtol=1e-12)
  assert np.all(np.abs(jacobians[0]) > 0.0)
  assert np.all(np.abs(outcomes[0] - outcomes[1]) > 0.0)


@pytest.mark.parametrize('wrt', WRT)
def test_anchored_targets_have_the_values_of_observed_ones(networks, wrt):
  anchored = problems.target(RealNetworks, wrt, anchored=True).value
  observed = _observed_target(networks, Inputs())
  np.testing.assert_allclose(anchored[..., :1], observed, rtol=1e-10)


def test_anchoring_changes_nothing_where_the_model_is_right():
  problem, inputs = problems.shared(ClosedForm), Inputs()
  model = problem.model(inputs.eps)
  inputs.reward, inputs.next_observation = model(inputs.observation, inputs.action)
  anchored = problems.compute_target(problem, inputs, 'action', anchored=True)
  reconstructed = problems.target(ClosedForm, 'action', anchored=False).value
  np.testing.assert_allclose(anchored, reconstructed, rtol=1e-10, atol=1e-12)


# Jacobians.


@pytest.mark.parametrize(
  ('samples', 'unused'),
  [
    (1, 'value_and_jacobian'),
    (S + A - 1, 'value_and_jacobian'),
    (S + A, 'value_and_pull_back'),
  ],
)
def test_the_direction_of_differentiation_follows_the_sizes(monkeypatch, samples, unused):
  wrt = 'state_action'
  problem, inputs = problems.shared(ClosedForm), Inputs(samples=samples)
  monkeypatch.delattr(jacobians, unused)
  expected = _oracle_target(problem, inputs, wrt, anchored=False)
  actual = problems.compute_target(problem, inputs, wrt)
  np.testing.assert_allclose(actual, expected, rtol=1e-10, atol=1e-12)


# Errors.


def test_unknown_wrt_is_refused_by_name():
  problem, inputs = ClosedForm(), Inputs()
  message = "wrt='actions' is not valid: it must be one of none, action, state_action"
  with pytest.raises(ValueError, match=message):
    _samples(problem, inputs, 'actions')
  with pytest.raises(ValueError, match=message):
    problems.compute_target(problem, inputs, 'actions')


@pytest.mark.parametrize('name', ['observation', 'action'])
def test_a_critic_that_ignores_an_input_is_refused(name):
  inputs = Inputs()
  used = {'observation': 1, 'action': 0}[name]
  critic = networks_lib.FunctionCritic(
    lambda *arguments: tf.reduce_sum(arguments[used], -1)
  )
  with pytest.raises(ValueError, match=f'does not depend on its {name}'):
    sobolev.sobolev_samples(critic, inputs.observation, inputs.action, inputs.noise)
