"""Checks and wrappers of anyone's dm_env environments.

Observations become one flat float32 vector, actions one vector in [-1, 1].
"""

from collections.abc import Mapping
from typing import Any, List

import dm_env
from dm_env import specs
import numpy as np

from acme_dsdpg import config as config_lib


def wrap(environment: dm_env.Environment) -> dm_env.Environment:
  """Checks an environment and wraps it so that its specs are what the agent wants.

  Observations: nested dicts, lists and scalars of any float, integer or bool type
  are flattened in a fixed order (keys sorted) to one float32 vector. Actions: one
  vector in [-1, 1], clipped, then scaled to the environment's bounds. Reward and
  discount: float32.

  Raises:
    ConfigError: an image or discrete space, or bounds missing or not finite.
  """
  check_environment(environment)
  # Acme's wrappers bring TensorFlow along, so only now.
  from acme import wrappers

  from acme_dsdpg.environments import flatten

  environment = flatten.FlattenObservationWrapper(environment)
  environment = wrappers.CanonicalSpecWrapper(environment, clip=True)
  return wrappers.SinglePrecisionWrapper(environment)


def check_environment(environment: dm_env.Environment):
  """Raises ConfigError on spaces that the agent cannot handle."""
  error = config_lib.ConfigError
  actions = environment.action_spec()
  if isinstance(actions, specs.DiscreteArray) or (
    isinstance(actions, specs.Array) and not np.issubdtype(actions.dtype, np.floating)
  ):
    raise error(
      f'The action space is discrete ({actions!r}); a continuous one is needed.'
    )
  if not isinstance(actions, specs.BoundedArray):
    raise error(f'The actions have no bounds ({actions!r}); finite ones are needed.')
  if len(actions.shape) != 1 or not actions.shape[0]:
    raise error(f'The actions must be one vector, not {actions!r}.')
  low, high = np.broadcast_arrays(actions.minimum, actions.maximum)
  if not (np.all(np.isfinite(low)) and np.all(np.isfinite(high))):
    raise error(f'The action bounds are not finite: {actions!r}.')
  if np.any(low >= high):
    raise error(f"An action's minimum is not below its maximum: {actions!r}.")
  leaves = _leaves(environment.observation_spec())
  if not sum(int(np.prod(spec.shape)) for spec in leaves):
    raise error('The observation is empty.')
  for spec in leaves:
    if len(spec.shape) > 2:
      raise error(f'The observation has an image ({spec!r}); only vectors are handled.')
    if isinstance(spec, specs.DiscreteArray):
      raise error(f'The observation has a discrete entry ({spec!r}).')
    if spec.dtype.kind not in 'fiub':
      raise error(f'The observation has an entry that is no number ({spec!r}).')


def _leaves(nest: Any) -> List[specs.Array]:
  """The leaves of a nested spec."""
  if isinstance(nest, Mapping):
    return [leaf for value in nest.values() for leaf in _leaves(value)]
  if isinstance(nest, (list, tuple)):
    return [leaf for value in nest for leaf in _leaves(value)]
  return [nest]
