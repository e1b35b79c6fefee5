"""Environments that fail: the guard, its loop, and whole runs."""

import queue
import threading
import types

from acme import specs as acme_specs
from acme.utils import counting
import dm_env
from dm_env import specs
import numpy as np
import pytest

from acme_dsdpg.running import checkpointing, environment_guard, errors, evaluation
from tests.running import faulty_program, runs


class _Hang:
  """A function that hangs until it is released; see `_hang`."""

  def __init__(self):
    self.hanging, self.released = threading.Event(), threading.Event()

  def __call__(self, *_):
    self.hanging.set()
    self.released.wait()


@pytest.fixture(name='hang')
def _hang(monkeypatch):
  """A function whose time limit passes at once; what else is called has any time."""
  hang = _Hang()

  class Queue(queue.SimpleQueue):
    def get(self, timeout=None):
      while timeout is not None:
        try:
          return super().get(timeout=0.01)
        except queue.Empty:
          if hang.hanging.is_set():
            hang.hanging.clear()
            raise
      return super().get()

  fake = types.SimpleNamespace(SimpleQueue=Queue, Empty=queue.Empty)
  monkeypatch.setattr(environment_guard, 'queue', fake)
  yield hang
  hang.released.set()


@pytest.mark.process
def test_a_failing_environment_costs_an_episode_and_never_the_run(
  tmp_path, hang, monkeypatch, capsys
):
  monkeypatch.setattr(faulty_program, 'hang', hang)
  # The 230th step is in the first block of evaluation, five times 50 steps.
  runs.run_here(
    tmp_path, 'raise+nan+inf+exit+hang', environment_timeout=5.0, num_steps=300,
    eval_episodes=5, eval_every=1000,
  )  # fmt: skip
  out = capsys.readouterr().out
  causes = (
    'step raised RuntimeError: physics diverged',
    'step returned observation=',
    'step returned reward=inf',
    'step raised SystemExit: licence expired',
    'step took longer than 5 s',
  )
  for cause in causes:
    assert out.count(f'episode dropped, environment made anew: {cause}') == 1
  for row in runs.rows(tmp_path, 'evaluator'):
    assert (row['episodes'], row['episode_return']) == (5, 50.0)
  rows = runs.rows(tmp_path, 'actor')
  assert rows[-1]['actor_steps'] >= 300
  for row in rows:
    assert row['learner_steps'] == runs.updates_due(int(row['actor_steps']))
  for row in runs.rows(tmp_path, 'learner'):
    assert np.all(np.isfinite(list(row.values())))


@pytest.mark.process
def test_one_that_always_fails_ends_the_run_with_the_cause_and_is_saved(tmp_path, capsys):
  with pytest.raises(errors.RunFailedError) as caught:
    runs.run_here(tmp_path, 'always', max_environment_faults=3)
  assert str(caught.value) == (
    'The environment failed 3 times in a row; the last time: '
    'step raised RuntimeError: physics diverged.'
  )
  assert capsys.readouterr().out.count('episode dropped') == 3
  # 50 of the 230 steps were of the evaluation.
  assert checkpointing.newest(str(tmp_path)).counts['actor_steps'] == 180


class _Environment(dm_env.Environment):
  """Episodes of two steps; its functions may be replaced."""

  def __init__(self, **functions):
    self.__dict__.update(functions)

  def reset(self):
    self._steps = 0
    return dm_env.restart(np.ones(2, np.float32))

  def step(self, action):
    self._steps += 1
    make = dm_env.termination if self._steps == 2 else dm_env.transition
    return make(1.0, np.ones(2, np.float32))

  def observation_spec(self):
    return specs.Array([2], np.float32)

  def action_spec(self):
    return specs.BoundedArray([1], np.float32, -1.0, 1.0)


def _guard(**functions):
  return environment_guard.GuardedEnvironment(lambda _: _Environment(**functions), 60.0)


def _raising(error):
  def function(*_):
    raise error

  return function


def _loop(factory, max_faults=3):
  """A guarded loop, its counter, and the lines that it reports."""
  environment = environment_guard.GuardedEnvironment(factory, 60.0)
  actor = evaluation.PolicyActor(lambda _: np.zeros(1, np.float32))
  counter, lines = counting.Counter(), []
  loop = environment_guard.GuardedLoop(
    environment, actor, max_faults, lines.append, counter=counter
  )
  return loop, counter, lines


EXITS = [SystemExit('bye'), KeyboardInterrupt()]


@pytest.mark.parametrize('error', EXITS)
@pytest.mark.parametrize('name', ['step', 'reset'])
def test_an_exit_of_the_simulator_costs_an_episode(name, error):
  make = lambda number: _Environment(**({} if number else {name: _raising(error)}))
  loop, counter, lines = _loop(make)
  assert loop.run_episode()['episode_length'] == 2
  assert lines == [
    f'episode dropped, environment made anew: {name} raised {type(error).__name__}: '
    f'{error}'
  ]
  assert counter.get_counts()['environment_faults'] == 1


@pytest.mark.parametrize('error', EXITS)
def test_an_exit_of_the_simulator_each_time_is_the_runs_failure(error):
  loop, _, lines = _loop(lambda _: _Environment(step=_raising(error)))
  with pytest.raises(errors.RunFailedError, match=f'3 times .*{type(error).__name__}'):
    loop.run_episode()
  assert len(lines) == 3


@pytest.mark.parametrize('error', EXITS)
def test_an_exit_while_the_environment_is_made_is_the_runs_failure(error):
  with pytest.raises(errors.RunFailedError, match='Making the environment raised'):
    environment_guard.GuardedEnvironment(_raising(error), 60.0)


@pytest.mark.parametrize('error', [*EXITS, ValueError('no licence')])
def test_one_that_cannot_be_made_anew_is_tried_again(error):
  made = []

  def make(number):
    made.append(number)
    if number == 1:
      raise error
    # The first one fails each time.
    return _Environment(**({} if number else {'step': _raising(RuntimeError('stuck'))}))

  loop, counter, lines = _loop(make)
  assert loop.run_episode()['episode_length'] == 2
  assert made == [0, 1, 2]
  assert len([line for line in lines if line.startswith('it cannot be made:')]) == 1
  assert counter.get_counts()['environment_faults'] == 2


def test_an_exception_while_the_first_environment_is_made_is_the_users_to_see():
  with pytest.raises(ValueError, match='no such robot'):
    environment_guard.GuardedEnvironment(_raising(ValueError('no such robot')), 60.0)


def test_the_steps_of_a_dropped_episode_are_counted_and_the_episode_is_not():
  steps = iter([True, False])

  class Second(_Environment):
    def step(self, action):
      return super().step(action) if next(steps, True) else 1 / 0

  loop, counter, _ = _loop(lambda _: Second())
  loop.run_episode()
  counts = counter.get_counts()
  # One step before the fault, two of the whole episode.
  assert (counts['steps'], counts['episodes'], counts['environment_faults']) == (3, 1, 1)


def test_an_episode_of_no_steps_is_a_fault():
  guard = _guard(reset=lambda: dm_env.termination(1.0, np.ones(2)))
  with pytest.raises(errors.EnvironmentFaultError, match='no steps'):
    guard.reset()


@pytest.mark.parametrize(
  'timestep',
  [
    dm_env.transition(np.nan, np.ones(2)),
    dm_env.transition(1.0, np.array([0.0, np.inf])),
    dm_env.transition(1.0, np.ones(2), discount=np.nan),
    (1.0, np.ones(2)),
  ],
)
def test_nothing_but_finite_time_steps_leaves_the_guard(timestep):
  with pytest.raises(errors.EnvironmentFaultError, match='returned'):
    _guard(step=lambda _: timestep).step(np.zeros(1))


def test_an_action_that_is_not_finite_ends_the_run():
  with pytest.raises(errors.NonFiniteActionError, match='action'):
    _guard().step(np.array([np.nan]))


def test_the_specs_are_the_environments():
  spec = acme_specs.make_environment_spec(_guard())
  assert spec == acme_specs.make_environment_spec(_Environment())


def test_making_one_is_within_the_time_limit_too(hang):
  with pytest.raises(errors.RunFailedError, match='Making .* longer than 60 s'):
    environment_guard.GuardedEnvironment(hang, 60.0)


def test_one_that_is_made_late_is_no_answer_to_what_came_after(hang):
  answered = threading.Event()

  def make(number):
    if number == 1:
      hang()
      answered.set()
    return _Environment(reset=lambda: dm_env.restart(np.full(2, number, np.float32)))

  guard = environment_guard.GuardedEnvironment(make, 60.0)
  with pytest.raises(errors.TimeLimitError):
    guard.renew()
  hang.released.set()
  answered.wait()
  assert not np.any(guard.reset().observation)  # The old one's.


def test_a_call_that_hangs_is_left_behind_for_another_environment(hang):
  guard = environment_guard.GuardedEnvironment(
    lambda number: _Environment(**({} if number else {'step': hang})), 60.0
  )
  guard.reset()
  with pytest.raises(errors.EnvironmentFaultError, match='step took longer than 60 s'):
    guard.step(np.zeros(1))
  guard.renew()
  guard.reset()
  assert guard.step(np.zeros(1)).reward == 1.0


def test_the_time_limit_is_in_seconds():
  released = threading.Event()
  with pytest.raises(errors.RunFailedError, match='Making .* longer than 0.1 s'):
    environment_guard.GuardedEnvironment(lambda _: released.wait(), 0.1)
  released.set()
