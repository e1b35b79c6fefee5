"""Guards against environments that fail: the cause is named, the environment made anew.

`GuardedEnvironment` turns whatever an environment does wrong into one exception, and
`GuardedLoop` drops the episode, replaces the environment and tries again.
"""

import queue
import threading
from typing import Any, Callable, Dict, Optional

import acme
from acme import adders, core
from acme.utils import counting, loggers
import dm_env
import numpy as np

from acme_dsdpg.running import signals
from acme_dsdpg.running.errors import (
  EnvironmentFaultError,
  NonFiniteActionError,
  RunFailedError,
  TimeLimitError,
)

_FAULTS = 'environment_faults'


class GuardedEnvironment(dm_env.Environment):
  """An environment behind a time limit and a check of all that it returns.

  Also the safe point at which an interrupt is answered: before each step.

  Attributes:
    episode_steps: steps taken since the last reset.
  """

  def __init__(self, factory: Callable[[int], dm_env.Environment], timeout: float):
    """Initializes the guard.

    Args:
      factory: number of the environment, from 0, to the environment.
      timeout: seconds that a step, a reset, or making the environment may take.

    Raises:
      RunFailedError: making it took longer, or ended the thread.
    """
    self._factory = factory
    self._timeout = timeout
    self._number = -1
    self._worker = None
    self.episode_steps = 0
    try:
      self.renew()
    except (TimeLimitError, EnvironmentFaultError) as e:
      raise RunFailedError(f'Making the environment {e}.') from None

  def renew(self):
    """Makes the environment anew; a thread that hangs in the old one is abandoned.

    Raises:
      TimeLimitError: that took longer than the time limit.
      Exception: whatever the factory raises.
    """
    if self._worker is not None:
      self._worker.end()
    self._number += 1
    self._worker = _Worker()
    self._environment = self._worker.call(self._factory, (self._number,), self._timeout)

  def reset(self) -> dm_env.TimeStep:
    self.episode_steps = 0
    signals.check()
    timestep = self._call('reset')
    if timestep.last():
      raise EnvironmentFaultError('the environment returned an episode of no steps')
    return timestep

  def step(self, action: np.ndarray) -> dm_env.TimeStep:
    signals.check()
    if not np.isfinite(action).all():
      raise NonFiniteActionError(
        f'The policy returned an action that is not finite: {action}.'
      )
    timestep = self._call('step', action)
    self.episode_steps += 1
    return timestep

  def observation_spec(self):
    return self._environment.observation_spec()

  def action_spec(self):
    return self._environment.action_spec()

  def reward_spec(self):
    return self._environment.reward_spec()

  def discount_spec(self):
    return self._environment.discount_spec()

  def _call(self, name: str, *args: Any) -> dm_env.TimeStep:
    try:
      timestep = self._worker.call(getattr(self._environment, name), args, self._timeout)
    except TimeLimitError as e:
      raise EnvironmentFaultError(f'{name} {e}') from None
    except EnvironmentFaultError as e:
      raise EnvironmentFaultError(f'{name} {e}') from e
    except Exception as e:  # Whatever a simulator raises.
      raise EnvironmentFaultError(f'{name} raised {type(e).__name__}: {e}') from e
    if not isinstance(timestep, dm_env.TimeStep):
      raise EnvironmentFaultError(f'{name} returned {timestep!r}, not a TimeStep')
    for field in ('observation', 'reward', 'discount'):
      value = getattr(timestep, field)
      if value is not None and not np.isfinite(value).all():
        raise EnvironmentFaultError(f'{name} returned {field}={value}')
    return timestep


class _Worker:
  """A thread that calls, so that its caller can stop waiting."""

  def __init__(self):
    self._calls = queue.SimpleQueue()
    threading.Thread(target=self._work, daemon=True).start()

  def call(self, function: Callable[..., Any], args: Any, timeout: float) -> Any:
    """Returns `function(*args)`.

    Raises:
      TimeLimitError: that took longer than `timeout` seconds.
      EnvironmentFaultError: it raised SystemExit or KeyboardInterrupt, which are not the
        user's: a simulator does not end a run.
      Exception: whatever else it raises.
    """
    results = queue.SimpleQueue()  # Of this call: a late answer is nobody else's.
    self._calls.put((function, args, results))
    try:
      result, error = results.get(timeout=timeout)
    except queue.Empty:
      raise TimeLimitError(f'took longer than {timeout:g} s') from None
    if error is None:
      return result
    if not isinstance(error, Exception):
      raise EnvironmentFaultError(f'raised {type(error).__name__}: {error}') from error
    raise error

  def end(self):
    """Ends the thread after what it is doing."""
    self._calls.put((None, (), None))

  def _work(self):
    while True:
      function, args, results = self._calls.get()
      if function is None:
        return
      try:
        results.put((function(*args), None))
      except BaseException as e:
        results.put((None, e))


class GuardedLoop:
  """Acme's EnvironmentLoop, which goes on past an environment that fails.

  The episode in which it fails is not finished in replay, where only what preceded the
  fault is left, all of it finite. Of an episode that a fault or an interrupt cuts the
  steps are counted, as they are learned from; the episode itself is not.
  """

  def __init__(
    self,
    environment: GuardedEnvironment,
    actor: core.Actor,
    max_faults: int,
    report: Callable[[str], None],
    counter: Optional[counting.Counter] = None,
    adder: Optional[adders.Adder] = None,
    **kwargs,
  ):
    """Initializes the loop.

    Args:
      environment: to act in.
      actor: acts.
      max_faults: in a row, without a whole episode in between, end the run.
      report: shows a line to a person.
      counter: counts environment steps and episodes, and faults.
      adder: the actor's, to be reset; None where nothing is written.
      **kwargs: of `acme.EnvironmentLoop`.
    """
    self._environment = environment
    self._max_faults = max_faults
    self._report = report
    self._counter = counter
    self._adder = adder
    self._loop = acme.EnvironmentLoop(
      environment, actor, counter, loggers.NoOpLogger(), **kwargs
    )

  def run_episode(self) -> Dict[str, Any]:
    """Runs a whole episode, if need be after some that were dropped.

    Raises:
      RunFailedError: the environment failed `max_faults` times in a row.
    """
    for fault in range(1, self._max_faults + 1):
      try:
        return self._loop.run_episode()
      except EnvironmentFaultError as e:
        cause = e
        self._count_steps(**{_FAULTS: 1})
      except KeyboardInterrupt:
        self._count_steps()
        raise
      if self._adder is not None:
        self._adder.reset()
      self._report(f'episode dropped, environment made anew: {cause}')
      if fault < self._max_faults:
        try:
          self._environment.renew()
        except Exception as e:  # The old one is tried again, and counted.
          self._report(f'it cannot be made: {type(e).__name__}: {e}')
    raise RunFailedError(
      f'The environment failed {self._max_faults} times in a row; the last time: {cause}.'
    ) from cause

  def _count_steps(self, **counts: int):
    """Counts the steps of an episode that was cut short."""
    if self._counter is not None:
      self._counter.increment(steps=self._environment.episode_steps, **counts)
