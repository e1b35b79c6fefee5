"""Redirection of native code's stderr, away from the terminal."""

import contextlib
import os
import sys
from typing import Iterator


def path(workdir: str) -> str:
  """Returns the file in a run directory that it is appended to."""
  return os.path.join(workdir, 'logs', 'native.log')


@contextlib.contextmanager
def redirected(workdir: str) -> Iterator[None]:
  """Appends stderr to the run's `native.log` within it; exceptions pass as ever.

  For Reverb's server, which reports its start and stop at any log level, and for XLA's
  alarm about a slow compilation. If TensorFlow aborts, its last words are in the file.
  """
  sys.stderr.flush()
  saved = os.dup(2)
  try:
    with _open(path(workdir)) as file:
      os.dup2(file.fileno(), 2)
    yield
  finally:
    os.dup2(saved, 2)
    os.close(saved)


def _open(name: str):
  try:
    os.makedirs(os.path.dirname(name), exist_ok=True)
    return open(name, 'ab')
  except OSError:  # A full disk is no reason to end a run.
    return open(os.devnull, 'wb')
