"""Ctrl-C and SIGTERM: noticed at a safe point, or within seconds wherever that is far.

Between two environment steps a run is whole: learner, replay and counts agree. There,
and only there, a first signal raises KeyboardInterrupt (`check`), and the run saves. A
second one, or a first one that no safe point has answered within `GRACE` seconds (the
compiler takes longer), ends the process at once; the last checkpoint stands.
"""

import contextlib
import os
import signal
import socket
import threading
import time
from typing import Iterator

GRACE = 10.0  # Seconds.
_SIGNALS = (signal.SIGINT, signal.SIGTERM)

_requested = threading.Event()
_noticed = threading.Event()
_busy = threading.Event()


def check():
  """Raises KeyboardInterrupt once a signal has come; the caller is at a safe point."""
  if _requested.is_set() and not _noticed.is_set():
    _noticed.set()
    raise KeyboardInterrupt


@contextlib.contextmanager
def busy() -> Iterator[None]:
  """Makes a first signal wait, as long as it takes: a checkpoint is being saved."""
  _busy.set()
  try:
    yield
  finally:
    _busy.clear()


@contextlib.contextmanager
def handled() -> Iterator[None]:
  """Has SIGINT and SIGTERM answered by `check`, or end the process.

  SIGINT as well, since a shell that starts a command in the background has it ignored.
  Main thread only.
  """
  _requested.clear()
  _noticed.clear()
  # Written to by Python's C-level handler: its Python-level one would have to wait for
  # the main thread, which may be inside a compiler.
  reader, writer = socket.socketpair()
  writer.setblocking(False)
  previous_fd = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
  previous = [signal.signal(number, lambda *_: None) for number in _SIGNALS]
  threading.Thread(target=_watch, args=(reader,), daemon=True).start()
  try:
    yield
  finally:
    for number, old in zip(_SIGNALS, previous):
      signal.signal(number, old)
    signal.set_wakeup_fd(previous_fd)
    writer.close()  # Ends the thread.


def _watch(reader: socket.socket):
  with reader:
    if not reader.recv(1):
      return
    _requested.set()
    start = time.time()
    reader.settimeout(0.2)
    while True:
      try:
        if reader.recv(1):
          _exit('interrupted again')
        return
      except TimeoutError:
        near = _noticed.is_set() or _busy.is_set()
        if time.time() - start > GRACE and not near:
          _exit('interrupted where nothing could be saved')


def _exit(why: str):
  # Of stderr, native code's noise may be dropped just now.
  print(f'{why}: the last checkpoint stands', flush=True)
  os._exit(130)
