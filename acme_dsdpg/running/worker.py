"""A thread that calls for others, who can stop waiting for it."""

import contextlib
import queue
import threading
from typing import Any, Callable

from acme_dsdpg.running.errors import EnvironmentFaultError, TimeLimitError


class Abandoned(BaseException):
  """Ends a function that nobody waits for any more."""


class Worker:
  """A thread that calls functions, with a time limit.

  `call` hands over a single one, `run` a longer one, an episode say, whose own calls are
  what the limit is for: those change no thread.

  Attributes:
    hangs: whether a call has taken too long.
  """

  def __init__(self):
    self.hangs = False
    self._lock = threading.Lock()  # Of what is being called, and whether in vain.
    self._is_abandoned = False
    self._current = None  # What the thread itself is calling, anew for each call.
    self._calls = queue.SimpleQueue()
    self._thread = threading.Thread(target=self._work, daemon=True)
    self._thread.start()

  def is_current(self) -> bool:
    """Returns whether this is the worker's own thread."""
    return threading.current_thread() is self._thread

  def call(self, function: Callable[..., Any], args: Any, timeout: float) -> Any:
    """Returns `function(*args)`.

    Raises:
      TimeLimitError: that took longer than `timeout` seconds. In the worker's own thread
        it is `run` that raises it.
      Abandoned: nobody waits for what this thread does.
      EnvironmentFaultError: it raised SystemExit or KeyboardInterrupt, which are not the
        user's: a simulator does not end a run.
      Exception: whatever else it raises.
    """
    if self.is_current():
      result, error = self._call_here(function, args)
    else:
      result, error = self._call_there(function, args, timeout)
    if error is None:
      return result
    if not isinstance(error, Exception):
      raise EnvironmentFaultError(f'raised {type(error).__name__}: {error}') from error
    raise error

  def run(self, function: Callable[[], Any], timeout: float) -> Any:
    """Returns `function()`, whose calls by `call` take no longer than `timeout` seconds.

    Raises:
      TimeLimitError: one of them did; noticed after up to half as long again.
      Abandoned: another thread has abandoned it.
      BaseException: whatever it raises.
    """
    results = self._put(function, ())
    try:
      result, error = self._wait(results, timeout)
    except TimeLimitError:
      raise
    except BaseException:  # An interrupt.
      self.abandon(timeout)
      raise
    if error is not None:
      raise error
    return result

  def _wait(self, results: queue.SimpleQueue, timeout: float):
    """Waits for what `run` has given to the thread."""
    seen, times = None, 0
    while True:
      with contextlib.suppress(queue.Empty):
        return results.get(timeout=_half(timeout))
      # The third time it is at the same call, two halves of the limit have passed. (A
      # machine that has slept comes here at once, and the call has time left.)
      with self._lock:
        current = self._current
        times = times + 1 if current is seen else 1
        seen = current
        if current is not None and times == 3:
          self.hangs = self._is_abandoned = True
          raise TimeLimitError(f'{current[0]} took longer than {timeout:g} s')

  def abandon(self, timeout: float):
    """Ends what `run` is doing at its next call, and waits for that.

    Where it takes longer, `hangs` says so; the next call still ends it.
    """
    with self._lock:
      self._is_abandoned = True
    if not self.hangs:
      with contextlib.suppress(TimeLimitError):
        self._call_there(lambda: None, (), timeout)
        self._is_abandoned = False  # It has ended.

  def end(self):
    """Ends the thread after what it is doing."""
    self._put(None, ())

  def _call_here(self, function, args):
    self._begin([function.__name__])
    result = error = None
    try:
      result = function(*args)
    except BaseException as e:
      error = e
    self._begin(None)
    return result, error

  def _begin(self, current):
    """Says what the thread is calling; raises Abandoned where that is in vain."""
    with self._lock:
      self._current = current
      if self._is_abandoned:
        raise Abandoned

  def _call_there(self, function, args, timeout):
    results = self._put(function, args)
    try:
      try:
        return results.get(timeout=_half(timeout))
      except queue.Empty:
        # A machine that has slept comes here at once, and the call has time left.
        return results.get(timeout=_half(timeout))
    except queue.Empty:
      self.hangs = True
      raise TimeLimitError(f'took longer than {timeout:g} s') from None

  def _put(self, function, args) -> queue.SimpleQueue:
    results = queue.SimpleQueue()  # Of this call: a late answer is nobody else's.
    self._calls.put((function, args, results))
    return results

  def _work(self):
    while True:
      function, args, results = self._calls.get()
      if function is None:
        return
      try:
        results.put((function(*args), None))
      except BaseException as e:
        results.put((None, e))


def _half(timeout: float) -> float:
  return min(0.5 * timeout, threading.TIMEOUT_MAX)
