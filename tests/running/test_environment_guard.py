"""Environments that fail: the guard, its loop, and whole runs."""

import os
import queue
import signal
import threading
import types

from acme import specs as acme_specs
from acme.utils import counting
import dm_env
from dm_env import specs
import numpy as np
import pytest

from acme_dsdpg import config as config_lib
from acme_dsdpg import environments
from acme_dsdpg.running import (
  checkpointing,
  environment_guard,
  errors,
  evaluation,
  notices,
  worker,
)
from tests.running import faulty_program, runs


class _Hang:
  """A function that hangs until it is released; see `_hang`."""

  def __init__(self):
    self.hanging, self.released = queue.SimpleQueue(), threading.Event()

  def __call__(self, *_):
    for _ in range(3):  # The caller of an episode waits three times, others twice.
      self.hanging.put(None)
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
          if not hang.hanging.empty():
            hang.hanging.get()
            raise
      return super().get()

  fake = types.SimpleNamespace(SimpleQueue=Queue, Empty=queue.Empty)
  monkeypatch.setattr(worker, 'queue', fake)
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


def _guard(max_episode_steps=None, **functions):
  return environment_guard.GuardedEnvironment(
    lambda _: _Environment(**functions), 60.0, max_episode_steps
  )


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


EXITS = [SystemExit('bye'), KeyboardInterrupt(), GeneratorExit()]


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


def test_one_that_hangs_while_it_is_made_anew_is_the_runs_failure(hang):
  def make(number):
    if number:
      hang()
    return _Environment(step=_raising(ValueError('broken')))

  def run():
    with pytest.raises(errors.RunFailedError, match='3 times in a row.*no environment'):
      loop.run_episode()
    ended.set()

  (loop, _, lines), ended = _loop(make), threading.Event()
  threading.Thread(target=run, daemon=True).start()
  assert ended.wait(runs.LIMIT)
  assert 'it cannot be made: TimeLimitError: took longer than 60 s' in lines


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


def test_one_that_is_made_late_is_closed_and_no_answer_to_what_came_after(hang):
  closed = [queue.SimpleQueue() for _ in range(3)]

  def make(number):
    if number == 1:
      hang()
    reset = lambda: dm_env.restart(np.full(2, number, np.float32))
    return _Environment(reset=reset, close=lambda: closed[number].put(number))

  guard = environment_guard.GuardedEnvironment(make, 60.0)
  with pytest.raises(errors.TimeLimitError):
    guard.renew()
  assert closed[0].get() == 0
  with pytest.raises(errors.EnvironmentFaultError, match='there is no environment'):
    guard.reset()
  hang.released.set()
  assert closed[1].get() == 1
  guard.renew()
  assert np.all(guard.reset().observation == 2.0)
  assert closed[2].empty()
  assert closed[0].empty()  # Once.


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


@pytest.mark.parametrize('timeout', [1e10, 1e300])
def test_a_time_limit_may_be_as_good_as_none(timeout):
  guard = environment_guard.GuardedEnvironment(lambda _: _Environment(), timeout)
  assert guard.reset().first()


def test_a_machine_that_has_slept_is_no_fault(monkeypatch):
  expired = []

  class Queue(queue.SimpleQueue):
    def get(self, timeout=None):
      # The clock has gone on: the first limit of each call is over at once.
      if timeout is not None:
        expired.append(timeout)
        if len(expired) % 2:
          raise queue.Empty
      return super().get()

  fake = types.SimpleNamespace(SimpleQueue=Queue, Empty=queue.Empty)
  monkeypatch.setattr(worker, 'queue', fake)
  guard = _guard()
  assert guard.reset().first()
  assert expired == [30.0] * 4  # All of the 60 s, of making it and of the reset.


# Episodes in the environment's thread.


def test_an_episode_runs_in_the_environments_thread_and_fails_as_it_does():
  threads = []

  def step(_):
    threads.append(threading.get_ident())
    return dm_env.transition(1.0, np.ones(2, np.float32))

  guard = _guard(step=step)
  guard.reset()
  guard.step(np.zeros(1))
  assert guard.run(lambda: (guard.step(np.zeros(1)).reward, threading.get_ident())) == (
    1.0, threads[0]
  )  # fmt: skip
  assert len(set(threads)) == 1
  with pytest.raises(KeyError, match='mine'):
    guard.run(_raising(KeyError('mine')))


def test_a_step_of_an_episode_that_hangs_ends_it_and_it_takes_no_other(hang):
  reached, late = [], threading.Event()

  def episode():
    try:
      guard.step(np.zeros(1))
      reached.append('the next line')
    finally:
      late.set()

  guard = _guard(step=hang)
  with pytest.raises(errors.EnvironmentFaultError, match='step took longer than 60 s'):
    guard.run(episode)
  guard.close()
  hang.released.set()
  assert late.wait(runs.LIMIT)
  assert not reached


def test_an_interrupt_ends_an_episode_at_its_next_step_and_the_next_may_follow():
  steps = []

  def step(_):
    steps.append(1)
    if len(steps) == 3:
      os.kill(os.getpid(), signal.SIGINT)  # Answered in the main thread, as it waits.
      hears.wait(runs.LIMIT)
    return dm_env.transition(1.0, np.ones(2, np.float32))

  def interrupt(*_):
    hears.set()
    raise KeyboardInterrupt

  def episode():
    while True:
      guard.step(np.zeros(1))

  hears = threading.Event()
  guard = _guard(step=step)
  previous = signal.signal(signal.SIGINT, interrupt)
  try:
    with pytest.raises(KeyboardInterrupt):
      guard.run(episode)
  finally:
    signal.signal(signal.SIGINT, previous)
  assert len(steps) in (3, 4)
  assert guard.run(lambda: guard.step(np.zeros(1))).reward == 1.0


# Closing.


def test_each_environment_is_closed_once_when_renewed_and_at_the_end():
  closed = []

  def make(number):
    return _Environment(close=lambda: closed.append((number, threading.get_ident())))

  guard = environment_guard.GuardedEnvironment(make, 60.0)
  guard.renew()
  assert [number for number, _ in closed] == [0]
  guard.close()
  guard.close()
  assert [number for number, _ in closed] == [0, 1]
  # In the thread that it lives in.
  assert threading.get_ident() not in [thread for _, thread in closed]
  with pytest.raises(errors.RunFailedError, match='is closed'):
    guard.reset()


@pytest.mark.parametrize('error', [*EXITS, ValueError('socket gone')])
def test_one_that_fails_at_closing_is_a_warning(error, capsys):
  _guard(close=_raising(error)).close()
  kind = type(error).__name__
  out = capsys.readouterr().out
  assert out == f'WARNING: closing an environment raised {kind}: {error}\n'


def test_one_that_hangs_at_closing_is_a_warning(hang, capsys):
  guard = _guard(close=hang)
  guard.renew()
  assert guard.reset().first()
  out = capsys.readouterr().out
  assert out == 'WARNING: closing an environment took longer than 10 s\n'


def test_one_that_hangs_in_a_step_is_closed_all_the_same(hang):
  guard = _guard(step=hang, close=hang.released.set)
  guard.reset()
  with pytest.raises(errors.EnvironmentFaultError, match='step took longer'):
    guard.step(np.zeros(1))
  guard.close()
  assert hang.released.is_set()


@pytest.mark.parametrize('goes_on', [True, False])
def test_one_is_closed_by_another_thread_wherever_its_episode_is(goes_on, monkeypatch):
  if not goes_on:
    monkeypatch.setattr(environment_guard, '_TIME_TO_CLOSE', 0.1)
  closed, acting, released = [], threading.Event(), threading.Event()
  guard = _guard(close=lambda: closed.append(threading.get_ident()))
  own = guard.run(threading.get_ident)

  def episode():
    guard.reset()
    acting.set()  # Between two calls, where a learner may take its time.
    released.wait()
    guard.step(np.zeros(1))

  def close():
    acting.wait()
    if goes_on:
      threading.Timer(0.1, released.set).start()
    guard.close()
    assert len(closed) == 1
    released.set()

  closing = threading.Thread(target=close)
  closing.start()
  with pytest.raises(errors.RunFailedError, match='is closed'):
    guard.run(episode)
  closing.join()
  assert len(closed) == 1
  # In its own thread; in another where that does not come.
  assert (closed[0] == own) == goes_on
  assert closed[0] not in (threading.get_ident(), closing.ident)


def test_one_that_is_made_while_another_thread_closes_is_closed(monkeypatch):
  monkeypatch.setattr(environment_guard, '_TIME_TO_CLOSE', 0.1)
  closed, begun, going_on = [], threading.Event(), threading.Event()

  def make(number):
    if number:
      begun.set()
      going_on.wait()
    return _Environment(close=lambda: closed.append(number))

  def close():
    begun.wait()
    guard.close()
    going_on.set()

  guard = environment_guard.GuardedEnvironment(make, 60.0)
  closing = threading.Thread(target=close)
  closing.start()
  with pytest.raises(errors.RunFailedError, match='is closed'):
    guard.renew()
  closing.join()
  assert closed == [0, 1]
  guard.close()
  with pytest.raises(errors.RunFailedError, match='is closed'):
    guard.renew()
  assert closed == [0, 1]


@pytest.mark.process
def test_what_a_program_leaves_open_is_closed_at_its_end():
  program = runs.python(
    '-c',
    'import sys\n'
    'import acme_dsdpg\n'
    'acme_dsdpg.set_up()\n'
    'from acme_dsdpg.running import environment_guard\n'
    'from tests.running import faulty_program\n'
    'factory = faulty_program.Factory("none")\n'
    'environment = factory(0)\n'
    'environment.close = lambda: print("closed", flush=True)\n'
    'guard = environment_guard.GuardedEnvironment(lambda _: environment, 60.0)\n'
    'sys.exit("a mistake")\n',
  )
  assert program.wait() == 1
  assert program.out == 'closed\n'


# One environment for all.


def test_one_environment_for_several_guards_is_refused():
  one = environments.wrap(_Environment())
  first = environment_guard.GuardedEnvironment(lambda _: one, 60.0)
  again = lambda: environment_guard.GuardedEnvironment(
    lambda _: environments.wrap(one.environment), 60.0
  )
  with pytest.raises(config_lib.ConfigError, match='already in use'):
    again()
  first.close()  # One that is handed back may be handed out again.
  again().close()


def test_one_environment_for_a_block_of_evaluation_is_refused():
  one = environments.wrap(_Environment())
  with pytest.raises(config_lib.ConfigError, match='make a new one at each call'):
    environment_guard.GuardedEnvironment(
      lambda _: evaluation.SideBySide([one, one]), 60.0
    )


def test_what_is_not_in_use_any_more_is_forgotten():
  make = lambda: environment_guard.GuardedEnvironment(lambda _: _Environment(), 60.0)
  guards = [make() for _ in range(3)]
  before = len(environment_guard._in_use)
  for guard in guards:
    guard.close()
  assert len(environment_guard._in_use) == before - 3


# Episodes that do not end.


def test_an_endless_episode_is_ended_as_by_a_time_limit_and_said_once(
  capsys, monkeypatch
):
  monkeypatch.setattr(notices, '_noted', set())
  step = lambda _: dm_env.transition(1.0, np.ones(2, np.float32), 0.9)
  guard = _guard(3, step=step)
  for _ in range(2):
    guard.reset()
    kinds = [guard.step(np.zeros(1)) for _ in range(3)]
    assert [timestep.last() for timestep in kinds] == [False, False, True]
    assert kinds[-1].discount == 0.9
    assert kinds[-1].reward == 1.0
  out = capsys.readouterr().out
  assert out == (
    'NOTE: an episode was ended after 3 steps, as by a time limit (--max_episode_steps)\n'
  )


def test_an_episode_that_ends_by_itself_is_not_cut(capsys, monkeypatch):
  monkeypatch.setattr(notices, '_noted', set())
  guard = _guard(2)  # As long as its episodes.
  guard.reset()
  assert not guard.step(np.zeros(1)).last()
  last = guard.step(np.zeros(1))
  assert (last.last(), last.discount) == (True, 0.0)
  assert not capsys.readouterr().out


@pytest.mark.process
def test_a_run_ends_whose_environment_never_ends_an_episode(tmp_path, monkeypatch):
  closed = []

  class Endless(_Environment):
    def step(self, action):
      return dm_env.transition(1.0, np.ones(2, np.float32))

    def close(self):
      closed.append(self)

  monkeypatch.setattr(
    faulty_program.Factory, '__call__', lambda self, seed: environments.wrap(Endless())
  )
  runs.run_here(
    tmp_path, num_steps=120, eval_episodes=2, eval_every=1000, max_episode_steps=40
  )
  assert [row['episode_length'] for row in runs.rows(tmp_path, 'actor')] == [40] * 3
  assert {row['episode_return'] for row in runs.rows(tmp_path, 'evaluator')} == {40.0}
  assert len(closed) == len(set(map(id, closed))) == 3  # One acts, two are evaluated in.


# Environments that are not what their specs say.


@pytest.mark.process
def test_a_run_in_one_that_is_not_as_its_specs_say_ends_with_a_sentence(
  tmp_path, monkeypatch
):
  make = lambda self, seed: environments.wrap(
    _Environment(step=lambda _: dm_env.transition(1.0, {'a': np.ones(2)}))
  )
  monkeypatch.setattr(faulty_program.Factory, '__call__', make)
  with pytest.raises(config_lib.ConfigError) as caught:
    runs.run_here(tmp_path)
  assert str(caught.value) == (
    "The environment's step returned observation: expected numbers of shape (2,), "
    "found the keys ['a']."
  )


def test_the_time_limit_is_in_seconds():
  released = threading.Event()
  with pytest.raises(errors.RunFailedError, match='Making .* longer than 0.1 s'):
    environment_guard.GuardedEnvironment(lambda _: released.wait(), 0.1)
  released.set()
