"""What the processes of a program owe each other."""

import ctypes
import os
import signal
from typing import Optional


def die_with_parent(parent: Optional[int] = None):
  """Kills this process when its parent ends, however that ends (PR_SET_PDEATHSIG).

  Args:
    parent: its process id, where it is known; a parent that has already ended is then
      noticed.
  """
  ctypes.CDLL(None).prctl(1, signal.SIGKILL)
  if parent is not None and os.getppid() != parent:
    os._exit(1)
