"""Environments: dm_control's suite, and anyone's own."""

from typing import Callable

import dm_env

from acme_dsdpg.environments.checks import check_environment
from acme_dsdpg.environments.gymnasium_adapter import from_gymnasium
from acme_dsdpg.environments.suite import (
  DEFAULT_TASKS,
  SuiteFactory,
  make_environment,
  resolve_task,
)
from acme_dsdpg.environments.time_limit import TimeLimit
from acme_dsdpg.environments.wrapping import wrap

__all__ = [
  'DEFAULT_TASKS',
  'EnvironmentFactory',
  'SuiteFactory',
  'TimeLimit',
  'check_environment',
  'from_gymnasium',
  'make_environment',
  'resolve_task',
  'wrap',
]

# (seed) -> environment. Must be picklable for distributed runs.
EnvironmentFactory = Callable[[int], dm_env.Environment]
