"""Flags made from the config's fields. TensorFlow is not imported here."""

import importlib
import inspect
import re
from typing import Any, Dict, Tuple

from absl import flags

from acme_dsdpg import config as config_lib
from acme_dsdpg import environments

_KINDS = {Tuple[int, ...]: int, Tuple[float, ...]: float}


def define_flags():
  """Defines a flag for every config field: its type, its help, no default.

  A flag that is not given leaves the field to the preset, the environment's
  config and the defaults, in this order.
  """
  descriptions = _descriptions()
  for name, field in config_lib.fields().items():
    default = f'(default: {field.default})'
    kwargs = dict(name=name, default=None, help=f'{descriptions[name]} {default}')
    if field.type is bool:
      flags.DEFINE_bool(**kwargs)
    elif field.type is int:
      flags.DEFINE_integer(**kwargs)
    elif field.type is float:
      flags.DEFINE_float(**kwargs)
    elif field.type in _KINDS:
      flags.DEFINE_list(**kwargs)
    elif name == 'agent':
      flags.DEFINE_enum(enum_values=list(config_lib.AGENTS), **kwargs)
    else:
      flags.DEFINE_string(**kwargs)


def config_from_flags() -> config_lib.ExperimentConfig:
  """The resolved config of the parsed flags, its environment and task checked.

  Raises:
    ConfigError: with a text for the user.
  """
  overrides = {}
  for name, field in config_lib.fields().items():
    value = getattr(flags.FLAGS, name)
    if value is not None:
      overrides[name] = _parse(name, field.type, value)
  env = overrides.get('env', config_lib.ExperimentConfig.env)
  overrides['task'] = environments.resolve_task(env, overrides.get('task'))
  return config_lib.make_config(overrides, env_overrides(env))


def env_overrides(env: str) -> Dict[str, Any]:
  """What `configs/<env>.py` sets; nothing where there is no such file."""
  name = f'configs.{env}'
  try:
    return dict(importlib.import_module(name).OVERRIDES)
  except ModuleNotFoundError as e:
    if e.name not in (name, 'configs'):
      raise
    return {}


def _parse(name: str, kind: Any, value: Any) -> Any:
  if kind not in _KINDS:
    return value
  try:
    return tuple(_KINDS[kind](v) for v in value)
  except ValueError as e:
    raise config_lib.ConfigError(
      f'{name}={",".join(value)!r} is not valid: it must be '
      f'{config_lib.type_name(kind)}, separated by commas.'
    ) from e


def _descriptions() -> Dict[str, str]:
  """Each field's description from the dataclasses' docstrings."""
  result = {}
  for cls in (config_lib.ExperimentConfig, config_lib.DSDPGConfig):
    text = inspect.getdoc(cls).split('Attributes:\n', 1)[1]
    for match in re.finditer(r'^  (\w+): ((?:.|\n(?=    ))*)', text, re.MULTILINE):
      result[match[1]] = ' '.join(match[2].split())
  return result
