"""Lines for a person, which never end a run themselves."""

import contextlib
import threading
import time
from typing import Callable, Iterator

from acme_dsdpg import config as config_lib


def warn(text: str):
  """Prints `WARNING: text` on stdout: stderr may be redirected just now."""
  say(f'WARNING: {text}')


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


def warn_if_nothing_is_learned(config: config_lib.ExperimentConfig):
  """Warns of a run that ends before its first learner step."""
  agent = config.dsdpg
  if (config.num_steps - agent.min_replay_size) * agent.updates_per_step < 1.0:
    warn(
      f'nothing will be learned: num_steps={config.num_steps} ends before the first '
      f'update, after min_replay_size={agent.min_replay_size} transitions. Change either.'
    )


def reason(error: Exception) -> str:
  """Returns the first line of what an exception says, its type where it says nothing."""
  return (str(error).splitlines() or [type(error).__name__])[0]
