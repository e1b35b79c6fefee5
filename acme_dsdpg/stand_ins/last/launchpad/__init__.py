"""What Acme's `EnvironmentLoop` imports of Launchpad, for a Python that has none.

Nobody stops a program that Launchpad has not started.
"""

from typing import Any, Callable


def register_stop_handler(handler: Callable[..., Any]):
  """Does nothing."""


def unregister_stop_handler(handler: Callable[..., Any]):
  """Does nothing."""
