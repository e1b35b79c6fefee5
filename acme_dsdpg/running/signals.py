"""Ctrl-C, SIGTERM, SIGHUP: noticed at a safe point, or within seconds if that is far.

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
from typing import Any, Callable, Iterator, Sequence, Tuple

from acme_dsdpg.running import notices

GRACE = 10.0  # Seconds.

_requested = threading.Event()
_noticed = threading.Event()
_busy = threading.Event()


def answered() -> Tuple[signal.Signals, ...]:
  """Returns the signals that stop a program of ours.

  SIGINT even where a shell that started it in the background has it ignored; SIGHUP, of
  a terminal that is closed, unless `nohup` has it ignored.
  """
  numbers = (signal.SIGINT, signal.SIGTERM)
  if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
    numbers += (signal.SIGHUP,)
  return numbers


@contextlib.contextmanager
def handled_by(handler: Callable[[int, Any], None]) -> Iterator[None]:
  """Has the signals of `answered` call a handler within it; main thread only."""
  previous = {number: signal.signal(number, handler) for number in answered()}
  try:
    yield
  finally:
    for number, old in previous.items():
      signal.signal(number, old)


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
  """Has the signals of `answered` answered by `check`, or end the process.

  Main thread only.
  """
  _requested.clear()
  _noticed.clear()
  # Written to by Python's C-level handler: its Python-level one would have to wait for
  # the main thread, which may be inside a compiler.
  reader, writer = socket.socketpair()
  writer.setblocking(False)
  previous_fd = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
  thread = threading.Thread(target=_watch, args=(reader, answered()), daemon=True)
  thread.start()
  try:
    with handled_by(lambda *_: None):
      yield
  finally:
    signal.set_wakeup_fd(previous_fd)
    writer.close()  # Ends the thread.
    thread.join()


def _watch(reader: socket.socket, numbers: Sequence[int]):
  start = None
  with reader:
    while True:
      try:
        received = reader.recv(1)
        if not received:
          return
        # A simulator's own signals come here as well.
        if received[0] in numbers:
          if start is not None:
            _exit('interrupted again')
            return
          _requested.set()
          start = time.time()
          reader.settimeout(0.2)
          continue
      except TimeoutError:
        pass
      near = _noticed.is_set() or _busy.is_set()
      if start is not None and time.time() - start > GRACE and not near:
        _exit('interrupted where nothing could be saved')


def _exit(why: str):
  # Of stderr, native code's noise may be dropped just now.
  notices.say(f'{why}: the last checkpoint stands')
  os._exit(130)
