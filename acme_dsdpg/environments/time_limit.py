"""A bound on the length of episodes."""

from typing import Any

import dm_env

from acme_dsdpg.environments import base


class TimeLimit(base.EnvironmentWrapper):
  """Ends each episode after so many steps, unless it has ended before.

  As by a time limit: the last step keeps its discount.

  Attributes:
    has_cut: whether an episode has been cut so far.
  """

  def __init__(self, environment: dm_env.Environment, max_steps: float):
    super().__init__(environment)
    self._max_steps, self._steps = max_steps, 0
    self.has_cut = False

  def reset(self) -> dm_env.TimeStep:
    self._steps = 0
    return self._environment.reset()

  def step(self, action: Any) -> dm_env.TimeStep:
    timestep = self._environment.step(action)
    self._steps += 1
    if self._steps >= self._max_steps and timestep.mid():
      self.has_cut = True
      return timestep._replace(step_type=dm_env.StepType.LAST)
    return timestep
