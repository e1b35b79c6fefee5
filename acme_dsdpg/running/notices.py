"""Lines for a person, which never end a run themselves."""

import contextlib

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


def reason(error: Exception) -> str:
  """Returns the first line of what an exception says, its type where it says nothing."""
  return (str(error).splitlines() or [type(error).__name__])[0]
