"""Environments that fail, and what must not leave them."""

import threading
import time

import dm_env
from dm_env import specs
import numpy as np
import pytest

from acme_dsdpg.running import checkpointing, environment_guard
from tests.running import runs


def test_a_failing_environment_costs_an_episode(tmp_path):
  workdir = tmp_path / 'w'
  status, out, err = runs.run(
    workdir, 'raise+nan+inf+hang', environment_timeout=2.0, num_steps=400, eval_every=1000
  )
  assert status == 0, err
  causes = (
    'step raised RuntimeError: physics diverged',
    'step returned observation=',
    'step returned reward=inf',
    'step took longer than 2 s',
  )
  for cause in causes:
    assert f'episode dropped, environment made anew: {cause}' in out
  steps = runs.steps(workdir, 'actor')
  # The steps before each fault, not whole episodes of 50, count as well.
  assert steps[-1] >= 400
  assert any(after - before > 50 for before, after in zip([0, *steps], steps))
  for row in runs.rows(workdir, 'actor'):
    assert int(row['learner_steps']) == runs.updates_due(int(row['actor_steps']))
  faults = runs.steps(workdir, 'actor', 'actor_environment_faults')
  assert faults == sorted(faults)
  assert faults[-1] == len(causes)
  for row in runs.rows(workdir, 'learner'):
    assert all(np.isfinite(float(v)) for v in row.values())


def test_a_failing_environment_costs_a_block_of_an_evaluation(tmp_path):
  workdir = tmp_path / 'w'  # The 230th step is in the first block, of 250.
  status, out, err = runs.run(
    workdir, 'raise', eval_episodes=5, num_steps=50, eval_every=1000
  )
  assert status == 0, err
  assert out.count('episode dropped, environment made anew: step raised') == 1
  for row in runs.rows(workdir, 'evaluator'):
    assert (row['episodes'], float(row['episode_return'])) == ('5', 50.0)


def test_one_that_always_fails_ends_the_run_with_the_cause(tmp_path):
  status, out, err = runs.run(tmp_path / 'w', 'always', max_environment_faults=3)
  assert status == 1
  assert out.count('episode dropped') == 3
  assert err.strip() == (
    'failed: The environment failed 3 times in a row; the last time: '
    'step raised RuntimeError: physics diverged.'
  )
  assert checkpointing.newest(str(tmp_path / 'w')).counts['actor_steps'] == 180


def test_one_that_returns_episodes_of_no_steps_ends_the_run(tmp_path):
  status, out, err = runs.run(tmp_path / 'w', 'empty', max_environment_faults=2)
  assert status == 1
  assert out.count('episode dropped') == 2
  assert 'an episode of no steps' in err


def test_episodes_shorter_than_n_steps_are_learned_from(tmp_path):
  status, _, err = runs.run(tmp_path / 'w', 'short', num_steps=200, eval_every=1000)
  assert status == 0, err
  assert runs.steps(tmp_path / 'w', 'learner', 'learner_steps')[-1] >= 30


class _Environment(dm_env.Environment):
  def __init__(self, timestep):
    self._timestep = timestep

  def reset(self):
    return self._timestep

  def step(self, action):
    return self._timestep

  def observation_spec(self):
    return specs.Array([2], np.float32)

  def action_spec(self):
    return specs.BoundedArray([1], np.float32, -1.0, 1.0)


def _guard(timestep):
  return environment_guard.GuardedEnvironment(lambda number: _Environment(timestep), 5.0)


def test_an_episode_of_no_steps_is_a_fault():
  with pytest.raises(environment_guard.EnvironmentFaultError, match='no steps'):
    _guard(dm_env.termination(1.0, np.ones(2))).reset()


@pytest.mark.parametrize(
  'timestep',
  [
    dm_env.transition(np.nan, np.ones(2)),
    dm_env.transition(1.0, np.array([0.0, np.inf])),
    dm_env.transition(1.0, np.ones(2), discount=np.nan),
  ],
)
def test_nothing_that_is_not_finite_leaves_the_guard(timestep):
  with pytest.raises(environment_guard.EnvironmentFaultError, match='returned'):
    _guard(timestep).step(np.zeros(1))


def test_an_action_that_is_not_finite_ends_the_run():
  with pytest.raises(environment_guard.RunFailedError, match='action'):
    _guard(dm_env.transition(1.0, np.ones(2))).step(np.array([np.nan]))


def test_making_one_is_within_the_time_limit_too():
  release = threading.Event()
  with pytest.raises(
    environment_guard.RunFailedError, match='Making .* longer than 0.2 s'
  ):
    environment_guard.GuardedEnvironment(lambda number: release.wait(), 0.2)
  release.set()


def test_one_that_is_made_late_is_no_answer_to_what_came_after():
  def make(number):
    if number:
      time.sleep(0.6)
    return _Environment(dm_env.restart(np.ones(2)))

  guard = environment_guard.GuardedEnvironment(make, 0.4)
  with pytest.raises(environment_guard.TimeLimitError):
    guard.renew()
  assert guard.reset().first()  # The old one's.


def test_a_thread_that_hangs_is_left_behind():
  release = threading.Event()
  worker = environment_guard._Worker()
  start = time.time()
  with pytest.raises(environment_guard.TimeLimitError):
    worker.call(release.wait, (), 0.2)
  assert time.time() - start < 2
  release.set()
