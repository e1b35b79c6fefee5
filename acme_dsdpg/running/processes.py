"""Beginning and end of a program's processes; light to import."""

import ctypes
import dataclasses
import os
import signal
import socket
import sys
import threading
import time
import traceback
from typing import Any, Callable

import courier

from acme_dsdpg import config as config_lib
from acme_dsdpg import libraries
from acme_dsdpg.running import errors

# Their text is for the user, who need not see where in the code they were raised.
_EXPLAINED = (config_lib.ConfigError, errors.RunFailedError, courier.ServerEndedError)


def begin(parent: int):
  """Begins a process; see `die_with_parent` and `libraries.set_up`."""
  die_with_parent(parent)
  signal.signal(signal.SIGHUP, signal.SIG_IGN)  # See `Node`.
  libraries.set_up()


def die_with_parent(parent: int):
  """Kills this process when its parent ends, however that ends (PR_SET_PDEATHSIG).

  Args:
    parent: its process id; one that has already ended is noticed.
  """
  ctypes.CDLL(None).prctl(1, signal.SIGKILL)
  if os.getppid() != parent:
    os._exit(1)


@dataclasses.dataclass(frozen=True)
class Node:
  """Calls a node's function or constructor with signals and errors as supervised."""

  function: Callable[..., Any]

  def __call__(self, *args: Any, **kwargs: Any) -> Any:
    # They reach every process of a terminal, but stopping is up to the launcher.
    for number in (signal.SIGINT, signal.SIGHUP):
      signal.signal(number, signal.SIG_IGN)
    # At once, even inside a blocking call, where Launchpad's handler is not run.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    sys.excepthook = die
    return self.function(*args, **kwargs)


def before_sigterm(call: Callable[[], Any]):
  """Has SIGTERM end the process only after `call`, in a thread, has returned.

  Whatever the main thread waits for. It is the one to call this.
  """
  reader, writer = socket.socketpair()
  writer.setblocking(False)

  def wait():
    with writer:  # Open as long as the thread lives.
      reader.recv(1)
    try:
      call()
    finally:
      ctypes.CDLL(None).signal(int(signal.SIGTERM), None)  # Its default.
      os.kill(os.getpid(), signal.SIGTERM)

  signal.signal(signal.SIGTERM, lambda *_: None)
  signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
  threading.Thread(target=wait, daemon=True).start()


def die(kind, value, trace):
  """Ends the process: a regular exit may wait forever for calls to dead processes."""
  # The launcher quotes the last line, or the traceback where there is one.
  if issubclass(kind, _EXPLAINED):
    print(' '.join(str(value).split()), file=sys.stderr)
  else:
    traceback.print_exception(kind, value, trace)
  sys.stderr.flush()
  os._exit(1)


def stop_at(num_steps: int, counter: Any, learner: Any, evaluator: Any):
  """Waits, as a node, until that many steps are taken, learned from and evaluated."""
  while counter.get_counts().get('actor_steps', 0) < num_steps:
    time.sleep(0.5)
  learner.finish()
  evaluator.finish()
