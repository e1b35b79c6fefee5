"""Trained policies loaded, run and filmed."""

import os
import pathlib
import subprocess
import sys

import acme
from acme import specs
from acme.utils import loggers
import imageio
import numpy as np
import pytest

import acme_dsdpg
from acme_dsdpg import config as config_lib
from acme_dsdpg import environments, evaluation, experiment, flatten
from acme_dsdpg import networks as networks_lib

ROOT = pathlib.Path(__file__).resolve().parents[1]


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  """A run directory of an untrained policy on cartpole, and its networks."""
  workdir = tmp_path_factory.mktemp('run')
  config = config_lib.make_config(
    dict(env='cartpole', task='balance', agent='ddpg', hidden_sizes=(8, 8))
  )
  spec = specs.make_environment_spec(environments.make_environment('cartpole'))
  networks = networks_lib.make_networks(spec, config.dsdpg, 3)
  networks.normalizer.mean.assign([0.1, 0.2, 0.3, 0.4, 0.5])
  for variable in networks.policy.trainable_variables:
    variable.assign_add(0.2 * np.ones(variable.shape, np.float32))
  (workdir / 'config.json').write_text(config.to_json(), encoding='utf-8')
  policy = networks.make_acting_policy()
  policy(np.zeros((1, 5), np.float32))
  experiment.save_policy(policy, spec, str(workdir / 'policy'))
  return workdir, policy


@pytest.mark.parametrize('inside', ['', 'policy'])
def test_a_loaded_policy_acts_as_the_network_did(run, inside):
  workdir, network = run
  policy = acme_dsdpg.load_policy(str(workdir / inside))
  batch = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)
  expected = network(batch).numpy()
  np.testing.assert_allclose(policy(batch), expected, rtol=1e-6)
  np.testing.assert_allclose(policy(batch[0]), expected[0], rtol=1e-6)
  # As the environment returns it: nested, float64.
  nested = {'velocity': np.float64(batch[1, 3:]), 'position': np.float64(batch[1, :3])}
  np.testing.assert_array_equal(flatten.flatten(nested), batch[1])
  np.testing.assert_allclose(policy(nested), expected[1], rtol=1e-6)


def test_an_observation_of_another_size_and_a_missing_policy_are_named(run, tmp_path):
  policy = acme_dsdpg.load_policy(str(run[0]))
  with pytest.raises(ValueError, match=r'shape \(4,\), the policy takes \[5\]'):
    policy(np.zeros(4))
  with pytest.raises(config_lib.ConfigError, match='holds no policy'):
    acme_dsdpg.load_policy(str(tmp_path))


def _python(*arguments):
  environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'MUJOCO_GL': 'disable'}
  environment.pop('TF_CPP_MIN_LOG_LEVEL', None)  # Importing JAX sets it.
  return subprocess.run(
    [sys.executable, *map(str, arguments)],
    capture_output=True,
    text=True,
    env=environment,
    cwd=ROOT,
    check=False,
  )


def _evaluate(*arguments):
  return _python('launchers/evaluate.py', *arguments)


def test_evaluate_prints_what_the_same_episodes_give(run):
  workdir, network = run
  result = _evaluate(workdir, '--episodes=1', '--seed=5')
  assert result.returncode == 0, result.stderr
  loop = acme.EnvironmentLoop(
    environments.make_environment('cartpole', 'balance', 5),
    evaluation.PolicyActor(lambda x: network(x[np.newaxis]).numpy()[0]),
    logger=loggers.NoOpLogger(),
  )
  row = evaluation.Evaluator(loop, 1).run()
  assert row['episode_return'] > 50  # Dense, so that another episode gives another.
  assert f'1 episodes: return {row["episode_return"]:.1f} +-' in result.stdout
  assert f'best {row["episode_return_max"]:.1f}' in result.stdout
  assert not result.stderr


FILM = """
import sys
from launchers import evaluate
evaluate.choose_backend()
import numpy as np
from acme_dsdpg import environments, evaluation
environment = environments.make_environment('pendulum')
film = evaluation.Film(sys.argv[1])
film.observe_first(environment, environment.reset())
for _ in range(40):
  action = np.ones(1, np.float32)
  film.observe(environment, environment.step(action), action)
film.close()
"""


def test_a_film_is_in_real_time_or_it_is_said_what_is_missing(tmp_path):
  video = tmp_path / 'film.mp4'
  result = _python('-c', FILM, video)
  if result.returncode:
    assert 'Install libegl1' in result.stderr
    assert 'Traceback' not in result.stderr
    pytest.skip('Nothing renders here.')
  reader = imageio.get_reader(video)
  # 50 steps a second: every second one is filmed, after the first.
  assert reader.get_meta_data()['fps'] == pytest.approx(25.0)
  frames = [frame for frame in reader.iter_data()]
  assert len(frames) == 21
  assert np.ptp(frames[0]) > 50  # There is something to see,
  assert np.any(frames[0] != frames[-1])  # and it moves.


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    ([], 'Give one run directory'),
    (['nowhere'], 'not a run directory'),
    (['nowhere', '--video=a.gif'], 'must end in .mp4'),
    (['nowhere', '--video=no/such/a.mp4'], 'is no directory'),
  ],
)
def test_bad_input_is_a_sentence(arguments, message):
  result = _evaluate(*arguments)
  assert result.returncode == 2
  assert message in result.stderr
  assert 'Traceback' not in result.stderr
