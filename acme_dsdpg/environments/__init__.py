"""Environments: dm_control's suite, and anyone's own."""

from typing import Callable

import dm_env

from acme_dsdpg.environments.suite import (
  DEFAULT_TASKS,
  SuiteFactory,
  make_environment,
  resolve_task,
)
from acme_dsdpg.environments.wrapping import check_environment, wrap

__all__ = [
  'DEFAULT_TASKS',
  'EnvironmentFactory',
  'SuiteFactory',
  'check_environment',
  'make_environment',
  'resolve_task',
  'wrap',
]

# (seed) -> environment. Must be picklable for distributed runs.
EnvironmentFactory = Callable[[int], dm_env.Environment]
