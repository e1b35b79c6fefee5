"""Gymnasium's environments as dm_env's. Gymnasium itself is not imported."""

from collections.abc import Mapping
from typing import Any, Optional

import dm_env
from dm_env import specs

from acme_dsdpg import config as config_lib


def from_gymnasium(environment: Any, seed: Optional[int] = None) -> dm_env.Environment:
  """Makes a dm_env environment of a Gymnasium one; `wrap` it next.

  `terminated` becomes discount 0, `truncated` leaves it at 1. `info` is dropped.

  Args:
    environment: of Gymnasium (or Gym 0.26) with a Box of actions. Observations: a Box,
      MultiBinary, or a Dict or Tuple of them.
    seed: given to the first `reset`.

  Raises:
    ConfigError: not Gymnasium's, several environments in one, or another space.
  """
  for name in ('action_space', 'observation_space', 'reset', 'step'):
    if not hasattr(environment, name):
      raise config_lib.ConfigError(
        f'{type(environment).__name__} is not a Gymnasium environment: it has no {name}.'
      )
  if hasattr(environment, 'single_action_space'):
    raise config_lib.ConfigError(
      f'{type(environment).__name__} is several environments in one: give a single one.'
    )
  return FromGymnasium(environment, seed)


class FromGymnasium(dm_env.Environment):
  """A Gymnasium environment, as `from_gymnasium` makes it."""

  def __init__(self, environment: Any, seed: Optional[int]):
    self._environment, self._seed = environment, seed
    self._actions = _spec(environment.action_space, 'action')
    self._observations = _spec(environment.observation_space, 'observation')
    self._over = True

  @property
  def unwrapped(self) -> Any:
    """The innermost environment."""
    return getattr(self._environment, 'unwrapped', self._environment)

  def observation_spec(self) -> Any:
    return self._observations

  def action_spec(self) -> specs.Array:
    return self._actions

  def reset(self) -> dm_env.TimeStep:
    seed, self._seed = self._seed, None
    result = self._environment.reset() if seed is None else self._seeded(seed)
    if not isinstance(result, tuple) or len(result) != 2:
      raise config_lib.ConfigError(
        f'reset returned {type(result).__name__}, not (observation, info): is the '
        'environment one of an older Gym?'
      )
    self._over = False
    return dm_env.restart(result[0])

  def _seeded(self, seed: int) -> Any:
    try:
      return self._environment.reset(seed=seed)
    except TypeError as e:
      if 'seed' not in str(e):
        raise
      raise config_lib.ConfigError(
        f'{type(self.unwrapped).__name__}.reset takes no seed: is the environment one of '
        'an older Gym?'
      ) from e

  def step(self, action: Any) -> dm_env.TimeStep:
    if self._over:
      return self.reset()
    result = self._environment.step(action)
    if not isinstance(result, tuple) or len(result) != 5:
      raise config_lib.ConfigError(
        f'step returned {type(result).__name__}, not (observation, reward, terminated, '
        'truncated, info): is the environment one of an older Gym?'
      )
    observation, reward, terminated, truncated, _ = result
    self._over = bool(terminated or truncated)
    kind = dm_env.StepType.LAST if self._over else dm_env.StepType.MID
    return dm_env.TimeStep(kind, reward, 0.0 if terminated else 1.0, observation)

  def close(self):
    self._environment.close()


def _spec(space: Any, name: str) -> Any:
  """The spec of a space, told by what it has."""
  if isinstance(getattr(space, 'spaces', None), Mapping):
    return {key: _spec(part, f'{name}/{key}') for key, part in space.spaces.items()}
  if isinstance(getattr(space, 'spaces', None), (list, tuple)):
    return tuple(_spec(part, f'{name}/{i}') for i, part in enumerate(space.spaces))
  kind = type(space).__name__
  if hasattr(space, 'low') and hasattr(space, 'high'):
    return specs.BoundedArray(space.shape, space.dtype, space.low, space.high, name)
  if kind == 'MultiBinary':
    return specs.Array(space.shape, space.dtype, name)
  if kind == 'Discrete':
    return specs.DiscreteArray(int(space.n), name=name)
  raise config_lib.ConfigError(f'The {name} is a {kind}; only Boxes are handled.')
