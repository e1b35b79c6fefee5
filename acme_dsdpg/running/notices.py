"""Lines for a person, which never end a run themselves."""

import contextlib


def warn(text: str):
  """Prints `WARNING: text` on stdout: stderr may be redirected just now."""
  say(f'WARNING: {text}')


def say(line: str):
  """Prints a line on stdout, unless that is a file on a disk that is full."""
  with contextlib.suppress(OSError):
    print(line, flush=True)


def reason(error: Exception) -> str:
  """Returns the first line of what an exception says, its type where it says nothing."""
  return (str(error).splitlines() or [type(error).__name__])[0]
