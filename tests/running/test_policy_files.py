"""Trained policies written and loaded."""

import collections
import os
import shutil
import types

from acme import specs as acme_specs
import dm_env
from dm_env import specs
import numpy as np
import pytest
import tensorflow as tf

import acme_dsdpg
from acme_dsdpg import config as config_lib
from acme_dsdpg import environments
from acme_dsdpg.environments import flatten
from acme_dsdpg.running import policy_files
from tests.oracles import mlp
from tests.running import trained

BATCH = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)


@pytest.fixture(scope='module', name='run')
def _run(tmp_path_factory):
  """A run directory, and its policy."""
  workdir = tmp_path_factory.mktemp('run')
  return workdir, trained.make_run(workdir)


@pytest.mark.parametrize('inside', ['', 'policy'])
def test_a_loaded_policy_acts_as_the_network_did(run, inside):
  workdir, network = run
  policy = acme_dsdpg.load_policy(str(workdir / inside))
  expected = network(BATCH).numpy()
  np.testing.assert_allclose(policy(BATCH), expected, rtol=1e-6)
  np.testing.assert_allclose(policy(BATCH[0]), expected[0], rtol=1e-6)
  # As the environment returns it: nested, float64.
  nested = {'velocity': np.float64(BATCH[1, 3:]), 'position': np.float64(BATCH[1, :3])}
  np.testing.assert_array_equal(flatten.flatten(nested), BATCH[1])
  np.testing.assert_allclose(policy(nested), expected[1], rtol=1e-6)


def test_it_is_a_saved_model_for_anyone(run):
  model = tf.saved_model.load(str(run[0] / 'policy'))
  np.testing.assert_allclose(model(BATCH), run[1](BATCH), rtol=1e-6)


@pytest.mark.parametrize('shape', [(4,), (2, 4), (1, 2, 5), ()])
def test_an_observation_of_another_shape_is_named(run, shape):
  policy = acme_dsdpg.load_policy(str(run[0]))
  with pytest.raises(ValueError, match=r'has shape .*, the policy takes \[5\]'):
    policy(np.zeros(shape))


class _Linear(tf.Module):
  """A policy [B, S] -> [B, S] that gives itself away: each entry has its own factor."""

  def __init__(self, size):
    self.scale = tf.Variable(1.0 + tf.range(size, dtype=tf.float32))

  def __call__(self, observation):
    return self.scale * observation


class _Observing(dm_env.Environment):
  """An environment of which the observation is what matters."""

  def __init__(self, spec, observation):
    self._spec, self._observation = spec, observation

  def reset(self):
    return dm_env.restart(self._observation)

  def step(self, action):
    return dm_env.transition(0.0, self._observation)

  def observation_spec(self):
    return self._spec

  def action_spec(self):
    return specs.BoundedArray((1,), np.float64, -1.0, 1.0)


_vector = lambda size: specs.Array((size,), np.float64)
_SCALAR = specs.Array((), np.float64)
_Pair = collections.namedtuple('_Pair', ['z', 'a'])
KINDS = {
  'vector': (_vector(3), np.arange(3.0)),
  'list of numbers': (_vector(3), [0.0, 1.0, 2.0]),
  'matrix': (specs.Array((2, 2), np.float64), np.arange(4.0).reshape(2, 2)),
  'row': (specs.Array((3, 1), np.float64), np.arange(3.0).reshape(3, 1)),
  'scalar': (_SCALAR, 0.5),
  'array of no axis': (_SCALAR, np.array(0.5)),
  'integer': (specs.Array((), np.int64), 3),
  'tuple': ((_vector(2), _vector(1)), (np.arange(2.0), np.ones(1))),
  'list': ([_vector(1), _vector(1)], [np.ones(1), np.zeros(1)]),
  'list of vectors': ([_vector(2), _vector(2)], [np.ones(2), np.zeros(2)]),
  'named tuple': (_Pair(_vector(2), _SCALAR), _Pair(np.arange(2.0), 7.0)),
  'dict': ({'b': _vector(2), 'a': _SCALAR}, {'b': np.arange(2.0), 'a': 7.0}),
  'ordered': (
    collections.OrderedDict(b=_vector(2), a=_SCALAR),
    collections.OrderedDict(b=np.arange(2.0), a=7.0),
  ),
  'mapping': (
    types.MappingProxyType({'b': _vector(2), 'a': _SCALAR}),
    types.MappingProxyType({'b': np.arange(2.0), 'a': 7.0}),
  ),
  'nested': (
    [{'p': _vector(2), 'o': (_SCALAR,)}, specs.Array((1, 2), np.float32)],
    [{'p': np.arange(2.0), 'o': (5.0,)}, np.ones((1, 2), np.float32)],
  ),
}


@pytest.mark.parametrize('kind', KINDS)
def test_a_policy_takes_what_the_environment_returns_in_the_order_of_training(
  kind, tmp_path
):
  spec, observation = KINDS[kind]
  environment = environments.wrap(_Observing(spec, observation))
  spec = acme_specs.make_environment_spec(environment)
  trained_on = environment.reset().observation
  network = _Linear(trained_on.size)
  policy_files.save_policy(network, spec, str(tmp_path))
  policy = acme_dsdpg.load_policy(str(tmp_path))
  expected = network(trained_on).numpy()
  np.testing.assert_array_equal(policy(observation), expected)
  np.testing.assert_array_equal(policy(trained_on), expected)
  for batch in ([observation, observation], np.stack([trained_on, trained_on])):
    np.testing.assert_array_equal(policy(batch), [expected, expected])
  np.testing.assert_array_equal(policy(trained_on[np.newaxis]), [expected])
  np.testing.assert_array_equal(policy(tf.constant(trained_on)), expected)
  with pytest.raises(ValueError, match='the policy takes'):
    policy((observation, np.zeros(9)))


def test_a_missing_policy_is_named(tmp_path):
  with pytest.raises(config_lib.ConfigError, match='holds no policy'):
    acme_dsdpg.load_policy(str(tmp_path))


@pytest.fixture(name='saved')
def _saved(run, tmp_path):
  """A copy of the run, its policy's actions, and another policy to be saved."""
  shutil.copytree(run[0], tmp_path, dirs_exist_ok=True)
  policy, spec = trained.make_policy()
  for variable in policy.variables:
    variable.assign(0.5 * variable)
  before, after = (p(BATCH).numpy() for p in (run[1], policy))
  assert np.any(np.abs(before - after) > 0.01)
  save = lambda: policy_files.save_policy(policy, spec, str(tmp_path))
  return tmp_path, save, before, after


def _entries(workdir):
  return sorted(name for name in os.listdir(workdir) if name.startswith('policy'))


def _actions(workdir):
  return acme_dsdpg.load_policy(str(workdir))(BATCH)


def test_a_new_policy_takes_the_place_of_the_old_one(saved):
  workdir, save, _, after = saved
  save()
  np.testing.assert_allclose(_actions(workdir), after, rtol=1e-6)
  assert _entries(workdir) == ['policy']


def test_where_the_new_one_cannot_be_moved_the_old_one_is_found(
  saved, monkeypatch, capsys
):
  workdir, save, before, after = saved
  rename = os.rename

  def fail(source, target):
    if target.endswith('policy'):
      raise OSError(28, 'No space left on device')
    rename(source, target)

  with monkeypatch.context() as patch:
    patch.setattr(os, 'rename', fail)
    save()
  assert 'WARNING: the policy was not saved: ' in capsys.readouterr().out
  np.testing.assert_allclose(_actions(workdir), before, rtol=1e-6)
  save()
  np.testing.assert_allclose(_actions(workdir), after, rtol=1e-6)
  assert _entries(workdir) == ['policy']


@pytest.mark.parametrize(
  'error',
  [OSError(28, 'full'), OSError(), tf.errors.ResourceExhaustedError(None, None, 'full')],
)
def test_where_the_new_one_cannot_be_written_the_old_one_stays(
  saved, error, monkeypatch, capsys
):
  workdir, save, before, _ = saved

  def fail(module, path, **_):
    os.mkdir(path)
    raise error

  monkeypatch.setattr(tf.saved_model, 'save', fail)
  save()
  out = capsys.readouterr().out
  assert out.startswith('WARNING: the policy was not saved: ')
  assert len(out.splitlines()) == 1
  np.testing.assert_allclose(_actions(workdir), before, rtol=1e-6)
  assert _entries(workdir) == ['policy']


def test_a_mistake_in_the_program_is_raised(saved, monkeypatch):
  _, save, _, _ = saved
  monkeypatch.setattr(tf.saved_model, 'save', lambda: None)
  with pytest.raises(TypeError):
    save()


@pytest.mark.parametrize('there', [True, False])
def test_a_link_in_place_of_the_policy_gives_way_and_its_target_stays(
  saved, tmp_path, there
):
  workdir, save, before, after = saved
  elsewhere = tmp_path / 'elsewhere'
  os.rename(workdir / 'policy', elsewhere if there else tmp_path / 'gone')
  (workdir / 'policy').symlink_to(elsewhere)
  if there:
    np.testing.assert_allclose(_actions(workdir), before, rtol=1e-6)
  for _ in range(2):
    save()
    np.testing.assert_allclose(_actions(workdir), after, rtol=1e-6)
    assert _entries(workdir) == ['policy']
  assert not (workdir / 'policy').is_symlink()
  if there:
    np.testing.assert_allclose(
      acme_dsdpg.load_policy(elsewhere)(BATCH), before, rtol=1e-6
    )


def test_relative_paths_are_taken_and_patterns_refused(run, monkeypatch):
  monkeypatch.chdir(run[0])
  expected = run[1](BATCH).numpy()
  for path in ('.', 'policy'):
    np.testing.assert_allclose(acme_dsdpg.load_policy(path)(BATCH), expected, rtol=1e-6)
  for path in ('', 'runs/lr=[1e-3]', 'runs/*'):
    with pytest.raises(config_lib.ConfigError, match='^path='):
      acme_dsdpg.load_policy(path)


def test_the_saved_model_is_its_parts_composed_by_hand_with_clipped_rows(tmp_path):
  policy, spec = trained.make_policy()
  mean, variance = np.array([0.1, -0.2, 3.0, 0.0, 5.0]), np.array([1, 4, 0.25, 9, 1e-4])
  policy._normalizer.mean.assign(mean)
  policy._normalizer.variance.assign(variance)
  policy_files.save_policy(policy, spec, str(tmp_path))
  weights = {'/'.join(v.name[:-2].split('/')[-2:]): v.numpy() for v in policy.variables}
  layer = lambda name: (weights[f'{name}/kernel'], weights[f'{name}/bias'])
  norm = weights['norm_0/scale'], weights['norm_0/offset']
  far = [[1e6, -1e6, 0.0, 30.0, -1e20], [0.0, 0.0, 8.1, -29.0, 5.2]]
  rows = np.concatenate([BATCH, np.array(far, np.float32)])
  standardised = (rows - mean) / np.sqrt(variance + 1e-6)
  clipped = np.clip(standardised, -10.0, 10.0)
  assert np.sum(clipped != standardised, axis=1).tolist()[-2:] == [3, 2]
  expected = [
    np.tanh(
      mlp.forward(
        x, [layer('hidden_0'), layer('hidden_1')], layer('output'), True, [norm], 'first'
      )
    )
    for x in clipped
  ]
  found = acme_dsdpg.load_policy(tmp_path)(rows)
  np.testing.assert_allclose(found, expected, rtol=1e-4)
  assert np.ptp(found) > 0.01
