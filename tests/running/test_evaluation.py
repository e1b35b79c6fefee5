"""Trained policies loaded, run and filmed."""

from contextlib import nullcontext
import os
import pathlib
import subprocess
import sys
import time

import acme
from acme import specs
from acme.utils import loggers
import dm_env
import imageio
import numpy as np
import pytest
import tensorflow as tf

import acme_dsdpg
from acme_dsdpg import config as config_lib
from acme_dsdpg import environments
from acme_dsdpg import networks as networks_lib
from acme_dsdpg.environments import flatten
from acme_dsdpg.running import environment_guard, evaluation, single_process

ROOT = pathlib.Path(__file__).resolve().parents[2]


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
  single_process.save_policy(policy, spec, str(workdir / 'policy'))
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


def _python(*arguments, **variables):
  environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'MUJOCO_GL': 'disable'}
  environment.update(variables)
  environment.pop('TF_CPP_MIN_LOG_LEVEL', None)  # Importing JAX sets it.
  return subprocess.run(
    [sys.executable, *map(str, arguments)],
    capture_output=True,
    text=True,
    env=environment,
    cwd=ROOT,
    check=False,
  )


def _evaluate(*arguments, **variables):
  return _python('launchers/evaluate.py', *arguments, **variables)


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
  assert f'1 episode: return {row["episode_return"]:.1f} +-' in result.stdout
  assert f'best {row["episode_return_max"]:.1f}' in result.stdout
  assert not result.stderr


class Countdown(dm_env.Environment):
  """Ends after `length` steps, paying its action each step and its length at the end."""

  def __init__(self, length):
    self._length = length

  def reset(self):
    self._steps = 0
    return dm_env.restart(np.zeros(2, np.float32))

  def step(self, action):
    self._steps += 1
    assert self._steps <= self._length  # Not stepped once it is over.
    observation, reward = np.full(2, self._steps, np.float32), np.float32(action[0])
    if self._steps == self._length:
      return dm_env.termination(np.float32(reward + self._length), observation)
    return dm_env.transition(reward, observation)

  def observation_spec(self):
    return specs.Array([2], np.float32)

  def action_spec(self):
    return specs.BoundedArray([1], np.float32, -1.0, 1.0)


def test_episodes_side_by_side_are_each_their_own():
  lengths = [3, 1, 5]
  side_by_side = evaluation.SideBySide([Countdown(length) for length in lengths])
  seen = []

  def policy(observation):
    seen.append(observation[:, 0].tolist())
    return np.array([[0.5], [0.25], [-0.5]], np.float32)

  loop = acme.EnvironmentLoop(
    side_by_side, evaluation.PolicyActor(policy), logger=loggers.NoOpLogger()
  )
  for _ in range(2):  # All begin anew together.
    seen.clear()
    row = evaluation.Evaluator(loop, 3).run()
    # 3 + 3 * 0.5, 1 + 0.25, 5 - 5 * 0.5.
    assert row['episode_return'] == pytest.approx(np.mean([4.5, 1.25, 2.5]))
    assert row['episode_return_std'] == pytest.approx(np.std([4.5, 1.25, 2.5]))
    assert (row['episode_return_min'], row['episode_return_max']) == (1.25, 4.5)
    assert (row['episode_length'], row['episodes']) == (5, 3)
    assert seen == [[0, 0, 0], [1, 1, 1], [2, 1, 2], [3, 1, 3], [3, 1, 4]]


def test_an_episode_that_is_over_earns_nothing_and_keeps_its_last_observation():
  environment = evaluation.SideBySide([Countdown(1), Countdown(3)])
  environment.reset()
  rewards, action = [], np.full([2, 1], 0.5, np.float32)
  for _ in range(3):
    timestep = environment.step(action)
    assert timestep.reward.dtype == np.float32
    assert timestep.observation[0].tolist() == [1, 1]
    rewards.append(timestep.reward.tolist())
  assert rewards == [[1.5, 0.5], [0.0, 0.5], [0.0, 3.5]]
  assert timestep.last()


def test_an_episode_of_no_steps_and_a_missing_action_are_refused():
  over = Countdown(1)
  over.reset = lambda: dm_env.termination(np.float32(0.0), np.zeros(2, np.float32))
  with pytest.raises(ValueError, match='an episode of no steps'):
    evaluation.SideBySide([Countdown(1), over]).reset()
  environment = evaluation.SideBySide([Countdown(1), Countdown(1)])
  environment.reset()
  with pytest.raises(ValueError, match='zip'):
    environment.step(np.zeros([1, 1], np.float32))


def test_an_evaluation_is_of_the_weights_at_the_time(run):
  _, network = run
  config = config_lib.make_config(dict(eval_episodes=2, seed=1))
  factory = environments.SuiteFactory('cartpole', 'balance')
  evaluator = single_process.make_evaluator(config, network, factory, 0, print)
  kept = [variable.numpy() for variable in network.variables]
  before = evaluator.run()
  for variable in network.trainable_variables:
    variable.assign(tf.zeros_like(variable))
  after = evaluator.run()
  for variable, value in zip(network.variables, kept):
    variable.assign(value)
  assert abs(after['episode_return'] - before['episode_return']) > 10


def test_each_environment_of_an_evaluation_has_its_own_time_limit(run):
  _, network = run

  def slow(seed):
    time.sleep(0.4)
    return environments.make_environment('cartpole', 'balance', seed)

  for limit, raises in ((0.7, False), (0.1, True)):
    config = config_lib.make_config(dict(eval_episodes=3, environment_timeout=limit))
    expected = (
      pytest.raises(environment_guard.RunFailedError) if raises else nullcontext()
    )
    with expected:
      single_process.make_evaluator(config, network, slow, 0, print)


def test_side_by_side_returns_what_its_specs_say():
  environment = evaluation.SideBySide(
    [environments.make_environment('cartpole', seed=seed) for seed in (0, 1)]
  )
  first, spec = environment.reset(), environment.observation_spec()
  assert first.observation.shape == spec.shape == (2, 5)
  assert np.any(first.observation[0] != first.observation[1])
  timestep = environment.step(np.zeros([2, 1], np.float32))
  for field in ('observation', 'reward', 'discount'):
    value, spec = getattr(timestep, field), getattr(environment, f'{field}_spec')()
    assert (value.shape, value.dtype) == (spec.shape, spec.dtype)
  assert environment.action_spec().shape == (2, 1)


def test_the_episodes_of_an_evaluation_differ_and_are_those_of_their_seeds(run):
  _, network = run
  factory = environments.SuiteFactory('cartpole', 'balance')

  def evaluate(num_episodes):
    config = config_lib.make_config(dict(eval_episodes=num_episodes, seed=1))
    return single_process.make_evaluator(config, network, factory, 0, print).run()

  row = evaluate(3)
  assert row == evaluate(3)
  assert row['episodes'] == 3
  assert row['episode_return_min'] < row['episode_return_max']
  # The first, alone: its seed is the run's, apart from those of acting.
  loop = acme.EnvironmentLoop(
    factory(1 + single_process.EVALUATION_SEED),
    evaluation.PolicyActor(lambda x: network(x[np.newaxis]).numpy()[0]),
    logger=loggers.NoOpLogger(),
  )
  alone = evaluation.Evaluator(loop, 1).run()
  assert evaluate(1)['episode_return'] == pytest.approx(alone['episode_return'], rel=1e-3)


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


def test_a_backend_that_does_not_render_is_a_sentence(run):
  result = _evaluate(run[0], '--video=film.mp4', MUJOCO_GL='nonsense')
  assert result.returncode == 2
  assert "Cannot render with MUJOCO_GL='nonsense'" in result.stderr
  assert 'Traceback' not in result.stderr


def test_a_policy_of_another_environment_is_a_sentence(run, tmp_path):
  (tmp_path / 'policy').symlink_to(run[0] / 'policy')
  config = config_lib.make_config({'env': 'acrobot', 'task': 'swingup'})
  (tmp_path / 'config.json').write_text(config.to_json(), encoding='utf-8')
  result = _evaluate(tmp_path)
  assert result.returncode == 2
  assert 'acrobot-swingup has 6' in result.stderr
  assert 'Traceback' not in result.stderr
