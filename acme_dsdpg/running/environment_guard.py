"""Guards against environments that fail: the cause is named, the environment made anew.

`GuardedEnvironment` turns whatever an environment does wrong into one exception, and
`GuardedLoop` drops the episode, replaces the environment and tries again.
"""

import atexit
import contextlib
import math
import threading
from typing import Any, Callable, Dict, Iterator, Optional
import weakref

import acme
from acme import adders, core
from acme.utils import counting, loggers
import dm_env
import numpy as np

from acme_dsdpg import config as config_lib
from acme_dsdpg import environments
from acme_dsdpg.running import notices, signals
from acme_dsdpg.running import worker as worker_lib
from acme_dsdpg.running.errors import (
  EnvironmentFaultError,
  NonFiniteActionError,
  RunFailedError,
  TimeLimitError,
)

_FAULTS = 'environment_faults'
_TIME_TO_CLOSE = 10.0  # Seconds.
_CLOSED = 'The environment is closed.'

# What has been made and not been closed: innermost environments, by their ids.
_in_use = weakref.WeakValueDictionary()
_guards = weakref.WeakSet()


@atexit.register
def _close_all():
  """Closes what is left where a program ends early."""
  for guard in list(_guards):
    guard.close()


class GuardedEnvironment(dm_env.Environment):
  """An environment behind a time limit and a check of all that it returns.

  It is made, stepped and closed in a thread of its own, in which whole episodes can be
  run. Also the safe point at which an interrupt is answered: before each step.

  Attributes:
    episode_steps: steps taken since the last reset.
  """

  def __init__(
    self,
    factory: Callable[[int], dm_env.Environment],
    timeout: float,
    max_episode_steps: Optional[int] = None,
  ):
    """Initializes the guard.

    Args:
      factory: number of the environment, from 0, to the environment.
      timeout: seconds that a step, a reset, or making the environment may take.
      max_episode_steps: ends longer episodes, as a time limit does; None does not.

    Raises:
      RunFailedError: making it took longer, or ended the thread.
      ConfigError: the factory returned one that is already in use.
    """
    self._factory = factory
    self._timeout = timeout
    self._max_episode_steps = math.inf if max_episode_steps is None else max_episode_steps
    self._number = -1
    self._worker = self._environment = None
    self._closing, self._is_closed = threading.Lock(), False
    self.episode_steps = 0
    _guards.add(self)
    try:
      self.renew()
    except (TimeLimitError, EnvironmentFaultError) as e:
      raise RunFailedError(f'Making the environment {e}.') from None

  def close(self):
    """Closes the environment, once and for all; any thread may do so.

    An episode that runs ends at its next step. If that takes longer than a few seconds,
    the environment is closed from another thread meanwhile.
    """
    with self._closing:
      self._is_closed = True
      self._close()

  def renew(self):
    """Closes the environment and makes another; a thread that hangs is abandoned.

    Raises:
      TimeLimitError: making it took longer than the time limit.
      RunFailedError: another thread has closed the environment.
      Exception: whatever the factory raises.
    """
    with self._closing:
      if self._is_closed:
        raise RunFailedError(_CLOSED)
      self._close()
      worker = self._worker = worker_lib.Worker()
    self._number += 1
    number, late = self._number, threading.Event()

    def make():
      environment = self._factory(number)
      if late.is_set():  # Nobody waits for it any more.
        environment.close()
      kinds = ('observation', 'action', 'reward', 'discount')
      return environment, {k: getattr(environment, f'{k}_spec')() for k in kinds}

    try:
      environment, self._specs = worker.call(make, (), self._timeout)
    except TimeLimitError:
      late.set()
      raise
    _claim(environment)
    with self._closing:
      self._environment = environments.TimeLimit(environment, self._max_episode_steps)
      if self._is_closed:  # Meanwhile, and its thread has ended.
        self._worker = worker_lib.Worker()
        self._close()
        raise RunFailedError(_CLOSED)

  def _close(self):
    """Closes this environment. One that fails at it, or hangs, is a warning."""
    environment, worker = self._environment, self._worker
    self._environment = None
    limit = min(self._timeout, _TIME_TO_CLOSE)
    if worker is not None:  # An episode may be under way.
      worker.abandon(0.5 * limit)
    if environment is not None:
      for simulator in _simulators(environment):
        _in_use.pop(id(simulator), None)
      # Where a call hangs, closing what it waits for may end it.
      closer = worker_lib.Worker() if worker.hangs else worker
      try:
        closer.call(environment.close, (), limit)
      except (TimeLimitError, EnvironmentFaultError) as e:
        notices.warn(f'closing an environment {e}')
      except Exception as e:  # Whatever a simulator raises.
        notices.warn(f'closing an environment raised {type(e).__name__}: {e}')
      if closer is not worker:
        closer.end()
    if worker is not None:
      worker.end()
    self._worker = None

  def run(self, episode: Callable[[], Any]) -> Any:
    """Returns `episode()`, called in the environment's thread.

    Its steps change no thread, which costs nearly half as much as a bare step.

    Raises:
      EnvironmentFaultError: a call of the environment took longer than the time limit.
      RunFailedError: another thread has closed the environment.
      BaseException: whatever the episode raises.
    """
    worker = self._worker
    if worker is None or self._environment is None:  # As its reset will say.
      return episode()
    try:
      return worker.run(episode, self._timeout)
    except TimeLimitError as e:
      raise EnvironmentFaultError(str(e)) from None
    except (worker_lib.Abandoned, RunFailedError):
      if not self._is_closed:
        raise
      with self._closing:  # Until it is done.
        raise RunFailedError(_CLOSED) from None

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
    return self._specs['observation']

  def action_spec(self):
    return self._specs['action']

  def reward_spec(self):
    return self._specs['reward']

  def discount_spec(self):
    return self._specs['discount']

  def _call(self, name: str, *args: Any) -> dm_env.TimeStep:
    environment, worker = self._environment, self._worker
    if self._is_closed:
      # Another thread may be at it, and waits for an episode in the environment's own.
      own = worker is not None and worker.is_current()
      with contextlib.nullcontext() if own else self._closing:
        raise RunFailedError(_CLOSED)
    if environment is None:
      raise EnvironmentFaultError('there is no environment: the last was not made')
    try:
      timestep = worker.call(getattr(environment, name), args, self._timeout)
    except TimeLimitError as e:
      raise EnvironmentFaultError(f'{name} {e}') from None
    except EnvironmentFaultError as e:
      raise EnvironmentFaultError(f'{name} {e}') from e
    except config_lib.ConfigError:  # It is another than its specs say, and will be.
      raise
    except Exception as e:  # Whatever a simulator raises.
      raise EnvironmentFaultError(f'{name} raised {type(e).__name__}: {e}') from e
    if not isinstance(timestep, dm_env.TimeStep):
      raise EnvironmentFaultError(f'{name} returned {timestep!r}, not a TimeStep')
    for field in ('observation', 'reward', 'discount'):
      value = getattr(timestep, field)
      if value is not None and not _is_finite(value):
        raise EnvironmentFaultError(f'{name} returned {field}={value}')
    if environment.has_cut and timestep.last():
      notices.note(
        f'an episode was ended after {self._max_episode_steps} steps, as by a time limit '
        '(--max_episode_steps)'
      )
    return timestep


def _is_finite(value: Any) -> bool:
  if isinstance(value, np.ndarray):
    return bool(np.isfinite(value).all())
  return math.isfinite(value)


def _claim(environment: dm_env.Environment):
  """Raises ConfigError where another guard uses what is within `environment`."""
  for simulator in _simulators(environment):
    if _in_use.get(id(simulator)) is simulator:
      raise config_lib.ConfigError(
        'The environment factory returned an environment that is already in use: it must '
        'make a new one at each call. (A run needs several, each in an episode of its '
        'own.)'
      )
    with contextlib.suppress(TypeError):  # It cannot be referred to weakly.
      _in_use[id(simulator)] = simulator


def _simulators(environment: dm_env.Environment) -> Iterator[Any]:
  """The innermost environments; several where some are stepped as one."""
  inner = getattr(environment, 'environment', None)
  parts = getattr(environment, 'environments', None)
  if isinstance(inner, dm_env.Environment) and inner is not environment:
    yield from _simulators(inner)
  elif isinstance(parts, list):
    for part in parts:
      yield from _simulators(part)
  else:
    yield getattr(environment, 'unwrapped', environment)


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
        return self._environment.run(self._loop.run_episode)
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

  def close(self):
    """Closes the environment."""
    self._environment.close()

  def _count_steps(self, **counts: int):
    """Counts the steps of an episode that was cut short."""
    if self._counter is not None:
      self._counter.increment(steps=self._environment.episode_steps, **counts)
