"""The optimizers against their algorithms, and what a checkpoint holds of them."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from acme_dsdpg.agent import optimizers
from tests.oracles import optimizers as oracles

STEPS = 20
RATE = 0.05
SHAPES = ((3, 2), (4,), (), (1, 2, 2))
BETAS = ((0.9, 0.999), (0.5, 0.9))  # The agent's and the toy's.
KINDS = {
  'adam': (optimizers.Adam, oracles.adam),
  'rectified': (optimizers.RectifiedAdam, oracles.rectified_adam),
}
MODES = {
  'eager': lambda f: f,
  'traced': tf.function,  # With AutoGraph, which the project's own steps are without.
  'xla': functools.partial(tf.function, autograph=False, jit_compile=True),
}
FIRST_RECTIFIED = 6


def _initial(dtype, shapes=SHAPES, seed=0):
  rng = np.random.default_rng(seed)
  return [tf.Variable(rng.normal(size=shape), dtype=dtype) for shape in shapes]


def _gradients(shapes=SHAPES, seed=1, steps=STEPS):
  """Gradients of sizes from 1e-3 to 1e2; all are zero at step 8, one at every step."""
  rng = np.random.default_rng(seed)
  result = []
  for t in range(1, steps + 1):
    scales = [10.0 ** rng.integers(-3, 3) * (t != 8) for _ in shapes]
    scales[1] = 0.0
    result.append([s * rng.normal(size=shape) for s, shape in zip(scales, shapes)])
  return result


def _run(optimizer, variables, gradients, mode='eager', dtype=tf.float64):
  """Steps, and returns the flattened variables after each: [T, P]."""
  apply = MODES[mode](optimizer.apply)
  history = []
  for step in gradients:
    apply([tf.constant(g, dtype) for g in step])
    history.append(_flat([v.numpy() for v in variables]))
  return np.array(history)


def _flat(arrays):
  return np.concatenate([np.ravel(a) for a in arrays]).astype(np.float64)


def _expected(oracle, variables, gradients, *args, **kwargs):
  theta = _flat([v.numpy() for v in variables])
  return np.array(oracle(theta, [_flat(g) for g in gradients], RATE, *args, **kwargs))


@pytest.mark.parametrize('dtype', [tf.float32, tf.float64], ids=lambda d: d.name)
@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('betas', BETAS, ids=str)
@pytest.mark.parametrize('kind', KINDS)
def test_steps_are_the_algorithms(kind, betas, mode, dtype):
  make, oracle = KINDS[kind]
  variables, gradients = _initial(dtype), _gradients()
  expected = _expected(oracle, variables, gradients, *betas)
  actual = _run(make(variables, RATE, *betas), variables, gradients, mode, dtype)
  # In float32, rho is off by 0.02 at first where beta_2 is 0.999.
  error = 1e-11 if dtype == tf.float64 else (1e-3 * RATE if betas[1] > 0.99 else 5e-6)
  np.testing.assert_allclose(actual, expected, rtol=0, atol=error)
  still = slice(6, 10)  # The second variable, whose gradient is zero.
  np.testing.assert_array_equal(actual[:, still], np.tile(actual[0, still], (STEPS, 1)))


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('kind', KINDS)
def test_a_step_that_is_not_ok_changes_nothing(kind, mode):
  variables, gradients = _initial(tf.float32), _gradients(steps=3)
  optimizer = KINDS[kind][0](variables, RATE)
  _run(optimizer, variables, gradients, dtype=tf.float32)
  everything = [*variables, *optimizer.variables]
  before = [v.numpy() for v in everything]
  nan = [tf.fill(v.shape, np.float32(np.nan)) for v in variables]
  MODES[mode](optimizer.apply)(nan, tf.constant(False))
  for old, variable in zip(before, everything, strict=True):
    np.testing.assert_array_equal(old, variable)


@pytest.mark.parametrize('dtype', [tf.float32, tf.float64], ids=lambda d: d.name)
@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('size', [1e-3, 1.0, 1e6])
def test_adams_first_step_is_as_long_as_the_learning_rate(size, mode, dtype):
  variables = [tf.Variable(tf.zeros([2], dtype))]
  optimizer = optimizers.Adam(variables, RATE)
  (step,) = _run(optimizer, variables, [[[size, -size]]], mode, dtype)
  # Epsilon is added to sqrt(v_1) = sqrt(0.001) size.
  shortened = 1.0 / (1.0 + 1e-7 / (np.sqrt(0.001) * size))
  # In float32, 1 - beta_2 is off by 5e-5, but in the bias correction as in v.
  error = 1e-12 if dtype == tf.float64 else 1e-6
  np.testing.assert_allclose(step, [-RATE * shortened, RATE * shortened], rtol=error)


@pytest.mark.parametrize('betas', BETAS, ids=str)
def test_rectified_adams_first_five_steps_are_momentum(betas):
  """The mean of the gradients, weighted with beta_1^age, of whatever size they are."""
  variables, gradients = _initial(tf.float64), _gradients(steps=6)
  before = _flat([v.numpy() for v in variables])
  optimizer = optimizers.RectifiedAdam(variables, RATE, *betas)
  history = np.array([before, *_run(optimizer, variables, gradients)])
  steps = -np.diff(history, axis=0)
  for t in range(1, 7):
    past = [_flat(g) for g in gradients[:t]]
    mean = np.average(past, axis=0, weights=[betas[0] ** (t - i) for i in range(t)])
    close = np.allclose(steps[t - 1], RATE * mean, rtol=1e-12, atol=1e-14)
    assert close == (t < FIRST_RECTIFIED), t


@pytest.mark.parametrize('beta_2', [0.999, 0.9])
def test_rectification_begins_at_step_six_and_the_papers_at_five(beta_2):
  lengths = [oracles.sma_length(t, beta_2) for t in range(1, 8)]
  assert np.all(np.diff(lengths) > 0)
  assert sum(rho < 5.0 for rho in lengths) + 1 == FIRST_RECTIFIED
  assert sum(rho <= 4.0 for rho in lengths) + 1 == 5
  assert lengths[4] == pytest.approx({0.999: 4.996, 0.9: 4.581}[beta_2], abs=5e-4)
  # One step apart: the same gradients moved the variables otherwise at step 5 alone.
  variables, gradients = _initial(tf.float64), _gradients()
  papers = _expected(
    oracles.rectified_adam, variables, gradients, 0.9, beta_2, begins=lambda rho: rho > 4
  )
  optimizer = optimizers.RectifiedAdam(variables, RATE, 0.9, beta_2)
  ours = _run(optimizer, variables, gradients)
  differs = np.any(np.abs(np.diff(ours - papers, axis=0)) > 1e-10, axis=1)
  assert list(np.flatnonzero(differs) + 2) == [5]


@pytest.mark.parametrize('beta_2', [0.999, 0.9])
@pytest.mark.parametrize('mode', MODES)
def test_rectification_begins_at_step_six_in_float32_too(mode, beta_2):
  """Gradients of 1e4: a step of momentum is 1e4 times as long as a rectified one."""
  variables = [tf.Variable(0.0)]
  optimizer = optimizers.RectifiedAdam(variables, 1.0, 0.9, beta_2)
  history = _run(optimizer, variables, [[1e4]] * 8, mode, tf.float32)
  lengths = -np.diff(history[:, 0], prepend=0.0)
  assert list(lengths > 10.0) == [t < FIRST_RECTIFIED for t in range(1, 9)]


@pytest.mark.parametrize('mode', ['traced', 'xla'])
@pytest.mark.parametrize('kind', KINDS)
def test_a_compiled_step_creates_nothing(kind, mode):
  variables = _initial(tf.float32)
  optimizer = KINDS[kind][0](variables, RATE)
  state = {v.ref() for v in optimizer.variables}
  assert len(state) == 3
  assert not optimizer.trainable_variables
  step = MODES[mode](optimizer.apply)
  graph = step.get_concrete_function([tf.zeros_like(v) for v in variables]).graph
  assert {v.ref() for v in graph.variables} == state | {v.ref() for v in variables}
  assert {v.ref() for v in optimizer.variables} == state
  assert int(optimizer.iterations) == 0
  for slot in (optimizer.first_moments, optimizer.second_moments):
    assert not np.any(slot)


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('kind', KINDS)
def test_a_restored_optimizer_goes_on_bit_for_bit(kind, mode, tmp_path):
  make, _ = KINDS[kind]
  gradients = _gradients(steps=12)
  # At 4 the next steps are still momentum, so the count matters as well as the slots.
  whole = _initial(tf.float32)
  optimizer = make(whole, RATE)
  _run(optimizer, whole, gradients[:4], mode, tf.float32)
  checkpoint = tf.train.Checkpoint(network=whole, optimizer=optimizer)
  path = checkpoint.write(str(tmp_path / 'saved'))
  expected = _run(optimizer, whole, gradients[4:], mode, tf.float32)

  resumed = _initial(tf.float32, seed=7)
  restored = make(resumed, RATE)
  checkpoint = tf.train.Checkpoint(network=resumed, optimizer=restored)
  checkpoint.read(path).assert_consumed()
  assert int(restored.iterations) == 4
  actual = _run(restored, resumed, gradients[4:], mode, tf.float32)
  np.testing.assert_array_equal(actual, expected)
  for a, b in zip(restored.variables, optimizer.variables):
    np.testing.assert_array_equal(a, b)


def test_a_checkpoint_of_an_optimizer_holds_its_slots_and_no_network(tmp_path):
  optimizer = optimizers.Adam(_initial(tf.float32), RATE)
  path = tf.train.Checkpoint(optimizer=optimizer).write(str(tmp_path / 'saved'))
  names = {name.split('/')[1] for name, _ in tf.train.list_variables(path)[1:]}
  assert names == {'iterations', 'first_moments', 'second_moments'}
  assert len(tf.train.list_variables(path)) == 1 + len(optimizer.variables)


@pytest.mark.parametrize('kind', KINDS)
def test_gradients_must_be_as_many_as_the_variables(kind):
  variables = _initial(tf.float32)
  optimizer = KINDS[kind][0](variables, RATE)
  with pytest.raises(ValueError, match='3 gradients for 4 variables'):
    optimizer.apply([tf.zeros_like(v) for v in variables[:-1]])
  assert int(optimizer.iterations) == 0


def test_nothing_not_finite_is_computed_even_where_it_is_not_used():
  """TensorFlow's search for NaN would find the root of rectified steps 3 and 4."""
  variables = _initial(tf.float32)
  optimizer = optimizers.RectifiedAdam(variables, RATE)
  tf.debugging.enable_check_numerics()
  try:
    _run(optimizer, variables, _gradients(steps=6), dtype=tf.float32)
  finally:
    tf.debugging.disable_check_numerics()
