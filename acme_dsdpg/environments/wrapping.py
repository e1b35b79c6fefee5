"""Anyone's dm_env environment, as the agent wants it.

Observations become one flat float32 vector, actions one vector in [-1, 1].
"""

from typing import Any

import dm_env
from dm_env import specs
import numpy as np

from acme_dsdpg import config as config_lib
from acme_dsdpg.environments import base, checks, flatten


def wrap(environment: dm_env.Environment) -> dm_env.Environment:
  """Checks an environment and wraps it so that its specs are what the agent wants.

  Observations: nested mappings, sequences and scalars of any float, integer or bool type
  are flattened in a fixed order (keys sorted) to one float32 vector. Actions: one
  vector in [-1, 1], scaled to the environment's bounds, of its own type and never beyond
  them. Reward and discount: one number each, float32.

  What the environment returns is held against its specs. `reset` and `step` raise
  ConfigError where the first they return is something else, ValueError later on.

  Raises:
    ConfigError: no dm_env environment, an image or discrete space, or bounds that are
      missing, not finite or absurdly wide.
  """
  checks.check_environment(environment)
  return WrappedEnvironment(environment)


class WrappedEnvironment(base.EnvironmentWrapper):
  """An environment as the agent wants it; see `wrap`."""

  def __init__(self, environment: dm_env.Environment):
    super().__init__(environment)
    spec = environment.action_spec()
    self._actions = specs.BoundedArray(
      spec.shape, np.float32, -np.ones(spec.shape), np.ones(spec.shape), spec.name
    )
    self._low = np.broadcast_to(spec.minimum, spec.shape).astype(spec.dtype)
    self._high = np.broadcast_to(spec.maximum, spec.shape).astype(spec.dtype)
    self._offset = self._low.astype(np.float64)
    self._half_range = 0.5 * (self._high.astype(np.float64) - self._offset)
    self._observations = environment.observation_spec()
    self._leaves, self._size = [], 0
    for path, leaf in flatten.leaves(self._observations):
      start, self._size = self._size, self._size + int(np.prod(leaf.shape))
      self._leaves.append((path, leaf.shape, slice(start, self._size)))
    self._unchecked = {'reset', 'step'}  # Nothing has come from it yet.
    self._in_episode = False

  def observation_spec(self) -> specs.Array:
    return specs.Array((self._size,), np.float32, name='observation')

  def action_spec(self) -> specs.BoundedArray:
    return self._actions

  def reward_spec(self) -> specs.Array:
    return specs.Array((), np.float32, name='reward')

  def discount_spec(self) -> specs.BoundedArray:
    return specs.BoundedArray((), np.float32, 0.0, 1.0, name='discount')

  def reset(self) -> dm_env.TimeStep:
    timestep = self._converted('reset', self._environment.reset())
    if timestep.mid():
      self._fail('reset', 'a step of type MID, expected FIRST')
    self._unchecked.discard('reset')
    self._in_episode = True
    return timestep

  def step(self, action: Any) -> dm_env.TimeStep:
    timestep = self._converted('step', self._environment.step(self._scaled(action)))
    if timestep.first() and self._in_episode:
      self._fail('step', 'a step of type FIRST within an episode')
    if self._unchecked and not timestep.first():
      self._unchecked.discard('step')
    self._in_episode = not timestep.last()
    return timestep

  def _scaled(self, action: Any) -> np.ndarray:
    """The environment's own action for one in [-1, 1], clipped to its bounds.

    Raises:
      ValueError: it has another shape or is NaN.
    """
    scaled = np.array(action, np.float64)
    if scaled.shape != self._low.shape:
      raise ValueError(f'The action has shape {scaled.shape}, not {self._low.shape}.')
    scaled += 1.0
    scaled *= self._half_range
    scaled += self._offset
    # In the environment's type: rounding must not lead past a bound.
    scaled = scaled.astype(self._low.dtype, copy=False)
    np.maximum(scaled, self._low, scaled)
    np.minimum(scaled, self._high, scaled)
    if np.isnan(np.add.reduce(scaled)):
      raise ValueError(f'The action is not finite: {action}.')
    return scaled

  def _converted(self, name: str, timestep: dm_env.TimeStep) -> dm_env.TimeStep:
    if not isinstance(timestep, dm_env.TimeStep):
      self._fail(name, f'{timestep!r}, not a TimeStep')
    observation = self._flat(name, timestep.observation)
    if timestep.step_type == dm_env.StepType.FIRST:
      return dm_env.restart(observation)
    reward = self._number(name, 'reward', timestep.reward)
    discount = self._number(name, 'discount', timestep.discount)
    if discount < 0.0 or discount > 1.0:
      self._fail(name, f'discount: expected a number in [0, 1], found {discount}')
    return dm_env.TimeStep(timestep.step_type, reward, discount, observation)

  def _flat(self, name: str, observation: Any) -> np.ndarray:
    """`flatten.flatten`, where the order is known, and held against the spec."""
    if name in self._unchecked:  # Also what is there beside the spec's keys.
      self._fail_if_mismatch(name, observation)
    flat = np.empty(self._size, np.float32)
    for path, shape, part in self._leaves:
      try:
        value = observation
        for key in path:
          value = value[key]
        value = np.asarray(value)
        fits = value.shape == shape and value.dtype.kind in checks.NUMBERS
      except (LookupError, TypeError, ValueError):
        fits = False
      if not fits:
        self._fail_if_mismatch(name, observation)
      flat[part] = value.ravel()
    return flat

  def _number(self, name: str, field: str, value: Any) -> np.float32:
    if type(value) is float:
      return np.float32(value)
    if not checks.is_number(value):
      self._fail(name, f'{field}: expected one number, found {checks.describe(value)}')
    return np.float32(np.asarray(value).item())

  def _fail_if_mismatch(self, name: str, observation: Any):
    sentence = checks.mismatch(self._observations, observation, 'observation')
    if sentence:
      self._fail(name, sentence)

  def _fail(self, name: str, what: str):
    """Raises what says that the environment does not keep to its specs."""
    if name in self._unchecked:  # Nor will it ever.
      raise config_lib.ConfigError(f"The environment's {name} returned {what}.")
    raise ValueError(f'{name} returned {what}')
