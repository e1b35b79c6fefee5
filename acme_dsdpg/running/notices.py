"""Lines for a person, which never end a run themselves."""

import contextlib
import threading
import time
from typing import Callable, Iterator

from acme_dsdpg import config as config_lib

NOTE = 'NOTE: '

_noted = set()


def warn(text: str):
  """Prints `WARNING: text` on stdout: stderr may be redirected just now."""
  say(f'WARNING: {text}')


def note(text: str):
  """Prints `NOTE: text` on stdout, once in a process."""
  if text not in _noted:
    _noted.add(text)
    say(f'{NOTE}{text}')


def say(line: str):
  """Prints a line on stdout, unless that is a file on a disk that is full."""
  with contextlib.suppress(OSError):
    print(line, flush=True)


@contextlib.contextmanager
def alive(
  what: str, report: Callable[[str], None] = say, every: float = 30.0
) -> Iterator[None]:
  """Reports every `every` seconds that what happens within it still does."""
  over, start = threading.Event(), time.monotonic()

  def work():
    while not over.wait(every):
      report(f'{what}: {time.monotonic() - start:.0f} s so far')

  thread = threading.Thread(target=work, daemon=True)
  thread.start()
  try:
    yield
  finally:
    over.set()
    thread.join()


def warn_if_too_short(config: config_lib.ExperimentConfig):
  """Warns of a run that ends where learning would begin, but for its last episode."""
  steps, least = config.num_steps, config.dsdpg.min_replay_size
  if steps <= least:
    warn(
      f'little or nothing will be learned: num_steps={steps} end before learning begins, '
      f'after min_replay_size={least} transitions. Change one of them.'
    )


def reason(error: Exception) -> str:
  """Returns the first line of what an exception says, its type where it says nothing."""
  return (str(error).splitlines() or [type(error).__name__])[0]
