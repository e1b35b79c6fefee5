"""Packages that stand in for others of the same name, by their place on the path.

`first` is searched before everything: Launchpad's Courier is a binary bound to the
symbols of TensorFlow 2.8. `last` is searched after everything: Acme imports Launchpad
even for a run in one process, and it has no wheel for Python 3.11.
"""

import importlib.util
import os
import sys

FIRST, LAST = (
  os.path.join(os.path.dirname(os.path.abspath(__file__)), name)
  for name in ('first', 'last')
)


def install():
  """Has this process find the stand-ins; before it imports Acme or Launchpad."""
  if FIRST not in sys.path:
    sys.path.insert(0, FIRST)
    sys.path.append(LAST)


def python_path() -> str:
  """Returns the PYTHONPATH with which a new process finds `first` from its start."""
  return os.pathsep.join(filter(None, (FIRST, os.environ.get('PYTHONPATH'))))


def has_launchpad() -> bool:
  """Whether Launchpad itself can be imported."""
  origin = importlib.util.find_spec('launchpad').origin or ''
  return not origin.startswith(LAST)
