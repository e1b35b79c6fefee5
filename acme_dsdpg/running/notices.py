"""Lines for a person that must not end a run themselves."""

import contextlib


def warn(text: str):
  """`WARNING: text` on stdout: stderr may be shut meanwhile, for native code's noise."""
  say(f'WARNING: {text}')


def say(line: str):
  """A line on stdout, unless that is a file on a disk that is full."""
  with contextlib.suppress(OSError):
    print(line, flush=True)
