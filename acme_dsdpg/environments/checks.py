"""Checks of anyone's environment: its spaces, and whether it keeps to them."""

from collections.abc import Mapping
import contextlib
from typing import Any, Optional

import dm_env
from dm_env import specs
import numpy as np

from acme_dsdpg import config as config_lib
from acme_dsdpg.environments import flatten

# Bounds beyond it are a simulator's way to say that there are none.
MAX_BOUND = 1e6
NUMBERS = 'fiub'  # Kinds of dtypes: float, int, unsigned, bool.


def check_environment(environment: dm_env.Environment):
  """Raises ConfigError on an environment that the agent cannot handle."""
  error = config_lib.ConfigError
  if not isinstance(environment, dm_env.Environment):
    name = type(environment).__name__
    adapter = ''
    if hasattr(environment, 'action_space'):
      adapter = ' Give wrap(environments.from_gymnasium(environment)) instead.'
    raise error(f'{name} is not a dm_env.Environment.{adapter}')
  _check_actions(environment.action_spec())
  _check_observations(environment.observation_spec())
  for name, nest in (
    ('reward', environment.reward_spec()),
    ('discount', environment.discount_spec()),
  ):
    if not isinstance(nest, specs.Array) or _size(nest) != 1 or not _is_number(nest):
      raise error(f'The {name} is not one number ({nest!r}): give one, their sum say.')


def _check_actions(spec: Any):
  error = config_lib.ConfigError
  if isinstance(spec, specs.DiscreteArray) or (
    isinstance(spec, specs.Array) and not np.issubdtype(spec.dtype, np.floating)
  ):
    raise error(f'The action space is discrete ({spec!r}); a continuous one is needed.')
  if not isinstance(spec, specs.Array):
    raise error(f'The actions must be one vector, not {spec!r}.')
  if not isinstance(spec, specs.BoundedArray):
    raise error(f'The actions have no bounds ({spec!r}); finite ones are needed.')
  if len(spec.shape) != 1 or not spec.shape[0]:
    raise error(f'The actions must be one vector, not {spec!r}.')
  bounds = np.array(np.broadcast_arrays(spec.minimum, spec.maximum), np.float64)
  if not np.all(np.isfinite(bounds)):
    raise error(f'The action bounds are not finite: {spec!r}.')
  if np.any(np.abs(bounds) > MAX_BOUND):
    raise error(
      f'The action bounds are beyond {MAX_BOUND:g}, as good as none: {spec!r}. Actions '
      'are scaled to them: give bounds within which useful actions lie.'
    )
  if np.any(bounds[0] >= bounds[1]):
    raise error(f"An action's minimum is not below its maximum: {spec!r}.")


def _check_observations(nest: Any):
  error = config_lib.ConfigError
  try:
    leaves = [leaf for _, leaf in flatten.leaves(nest)]
  except TypeError:
    raise error(f'The keys of the observation cannot be sorted: {nest!r}.') from None
  for spec in leaves:
    if not isinstance(spec, specs.Array):
      raise error(f'The observation spec has an entry that is no spec ({spec!r}).')
    if len(spec.shape) > 2:
      raise error(f'The observation has an image ({spec!r}); only vectors are handled.')
    if isinstance(spec, specs.DiscreteArray):
      raise error(f'The observation has a discrete entry ({spec!r}).')
    if not _is_number(spec):
      raise error(f'The observation has an entry that is no number ({spec!r}).')
  if not sum(_size(spec) for spec in leaves):
    raise error('The observation is empty.')


def is_number(value: Any) -> bool:
  """Returns whether a value is one number, of any type and shape."""
  try:
    array = np.asarray(value)
  except ValueError:  # A ragged list.
    return False
  return array.size == 1 and array.dtype.kind in NUMBERS


def mismatch(nest: Any, value: Any, name: str) -> Optional[str]:
  """Returns a sentence on where a value differs from its spec, None if nowhere.

  Args:
    nest: the spec, nested perhaps.
    value: what should be like it.
    name: of the value, for a person.
  """
  if isinstance(nest, Mapping):
    if not isinstance(value, Mapping):
      return f'{name}: expected the keys {sorted(nest)}, found {describe(value)}'
    if set(value) != set(nest):
      found = sorted(value, key=str)
      return f'{name}: expected the keys {sorted(nest)}, found {found}'
    keys = sorted(nest)
  elif isinstance(nest, (list, tuple)):
    if not isinstance(value, (list, tuple)) or len(value) != len(nest):
      return f'{name}: expected {len(nest)} parts, found {describe(value)}'
    keys = range(len(nest))
  else:
    return _leaf_mismatch(nest, value, name)
  parts = (mismatch(nest[key], value[key], f'{name}[{key!r}]') for key in keys)
  return next((sentence for sentence in parts if sentence), None)


def _leaf_mismatch(spec: specs.Array, value: Any, name: str) -> Optional[str]:
  # One number may have any shape. The types of numbers are not compared.
  if _size(spec) == 1 and is_number(value):
    return None
  with contextlib.suppress(ValueError):  # A ragged list.
    array = np.asarray(value)
    if array.shape == spec.shape and array.dtype.kind in NUMBERS:
      return None
  expected = f'numbers of shape {spec.shape}' if spec.shape else 'a number'
  return f'{name}: expected {expected}, found {describe(value)}'


def describe(value: Any) -> str:
  """Returns what a value is, in a few words."""
  if isinstance(value, Mapping):
    return f'the keys {sorted(value, key=str)}'
  if isinstance(value, (list, tuple)):
    return f'{type(value).__name__} of {len(value)}'
  if hasattr(value, 'dtype') and hasattr(value, 'shape'):
    return f'{value.dtype} of shape {tuple(value.shape)}'
  return f'{value!r}'[:80]


def _is_number(spec: specs.Array) -> bool:
  return spec.dtype.kind in NUMBERS


def _size(spec: specs.Array) -> int:
  return int(np.prod(spec.shape))
