"""An environment around another one, without TensorFlow, which Acme's brings along."""

from typing import Any

import dm_env


class EnvironmentWrapper(dm_env.Environment):
  """Passes everything on, also what `dm_env.Environment` does not have.

  Attributes:
    environment: the one inside.
  """

  def __init__(self, environment: dm_env.Environment):
    self._environment = environment

  def __getattr__(self, name: str) -> Any:
    if name == '_environment' or name.startswith('__'):  # While it is copied.
      raise AttributeError(name)
    return getattr(self._environment, name)

  @property
  def environment(self) -> dm_env.Environment:
    return self._environment

  def reset(self) -> dm_env.TimeStep:
    return self._environment.reset()

  def step(self, action: Any) -> dm_env.TimeStep:
    return self._environment.step(action)

  def observation_spec(self):
    return self._environment.observation_spec()

  def action_spec(self):
    return self._environment.action_spec()

  def reward_spec(self):
    return self._environment.reward_spec()

  def discount_spec(self):
    return self._environment.discount_spec()

  def close(self):
    self._environment.close()
