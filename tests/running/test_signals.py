"""Ctrl-C, SIGTERM, SIGHUP: at a safe point, far from one, twice, and while it saves."""

import itertools
import os
import signal
import threading
import types

import pytest

from acme_dsdpg.running import signals
from tests.running import runs


@pytest.fixture(autouse=True)
def _not_below_nohup():
  before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
  yield
  signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_noticed_at_a_safe_point_once(number):
  with signals.handled():
    signals.check()
    os.kill(os.getpid(), number)
    assert signals._requested.wait(runs.LIMIT)
    with pytest.raises(KeyboardInterrupt):
      signals.check()
    signals.check()  # While it saves.


def test_handlers_are_put_back():
  numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
  before = [signal.getsignal(number) for number in numbers]
  with signals.handled():
    assert [signal.getsignal(number) for number in numbers] != before
  assert [signal.getsignal(number) for number in numbers] == before
  with signals.handled():  # An earlier signal is no longer answered.
    signals.check()


def test_a_terminal_that_is_closed_is_nothing_to_a_program_below_nohup():
  signal.signal(signal.SIGHUP, signal.SIG_IGN)
  with signals.handled():
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    assert signal.getsignal(signal.SIGTERM) != signal.SIG_DFL


def test_another_signal_a_simulators_say_is_no_interrupt(exits):
  rang = threading.Event()
  before = signal.signal(signal.SIGALRM, lambda *_: rang.set())
  try:
    with signals.handled():
      for _ in range(2):
        rang.clear()
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        assert rang.wait(runs.LIMIT)
      os.kill(os.getpid(), signal.SIGTERM)
      assert signals._requested.wait(runs.LIMIT)
    assert not exits[0]
  finally:
    signal.signal(signal.SIGALRM, before)


def test_threads_and_descriptors_are_given_back():
  count = lambda: (threading.active_count(), len(os.listdir('/proc/self/fd')))
  before = count()
  for _ in range(3):
    with signals.handled():
      assert count() > before
  assert count() == before


@pytest.fixture(name='clock')
def _clock(monkeypatch):
  """A clock that has gone on by an hour at each look; an event after so many looks."""
  hours = itertools.count()
  looked = {number: threading.Event() for number in range(10)}

  def time():
    hour = next(hours)
    if hour in looked:
      looked[hour].set()
    return 3600.0 * hour

  monkeypatch.setattr(signals, 'time', types.SimpleNamespace(time=time))
  return looked


@pytest.fixture(name='exits')
def _exits(monkeypatch):
  """Why the process would have ended; an event when it would."""
  exits, ended = [], threading.Event()

  def leave(why):
    exits.append(why)
    ended.set()

  monkeypatch.setattr(signals, '_exit', leave)
  return exits, ended


def test_the_process_ends_where_no_safe_point_comes(clock, exits):
  with signals.handled():
    os.kill(os.getpid(), signal.SIGINT)
    assert exits[1].wait(runs.LIMIT)
  assert set(exits[0]) == {'interrupted where nothing could be saved'}


def test_while_a_checkpoint_is_saved_a_signal_waits(clock, exits):
  with signals.handled():
    with signals.busy():
      os.kill(os.getpid(), signal.SIGINT)
      assert clock[3].wait(runs.LIMIT)  # Hours later.
      assert not exits[0]
    assert exits[1].wait(runs.LIMIT)


def test_once_noticed_a_signal_waits_for_the_run_to_save(clock, exits):
  with signals.handled():
    os.kill(os.getpid(), signal.SIGINT)
    assert signals._requested.wait(runs.LIMIT)
    with pytest.raises(KeyboardInterrupt):
      signals.check()
    started = next(number for number in clock if not clock[number].is_set())
    assert clock[started + 2].wait(runs.LIMIT)
    assert not exits[0]


def test_a_second_signal_ends_the_process_even_then(exits):
  with signals.handled():
    os.kill(os.getpid(), signal.SIGINT)
    assert signals._requested.wait(runs.LIMIT)
    with pytest.raises(KeyboardInterrupt), signals.busy():
      signals.check()
    os.kill(os.getpid(), signal.SIGTERM)
    assert exits[1].wait(runs.LIMIT)
  assert exits[0] == ['interrupted again']


BLOCKED = """
import threading
from acme_dsdpg.running import signals
signals.GRACE = 0.0
with signals.handled():
  print('ready', flush=True)
  threading.Event().wait()  # No safe point, as in a compiler.
"""


@pytest.mark.process
def test_the_exit_status_is_that_of_an_interrupt():
  program = runs.python('-c', BLOCKED)
  program.wait_for(lambda: 'ready' in program.out)
  program.send(signal.SIGINT)
  assert program.wait() == 130
  assert program.out.endswith(
    'interrupted where nothing could be saved: the last checkpoint stands\n'
  )
