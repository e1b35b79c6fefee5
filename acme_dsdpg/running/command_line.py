"""Flags made from the config's fields. TensorFlow is not imported here."""

import importlib
import inspect
import os
import re
import sys
from typing import Any, Callable, Dict, List, Sequence, Tuple

from absl import app, flags

from acme_dsdpg import config as config_lib
from acme_dsdpg import environments

# `define_flags` defines for its caller: --help shows the flags of the program's module.
flags.disclaim_key_flags()

_KINDS = {Tuple[int, ...]: int, Tuple[float, ...]: float}


def run(main: Callable[..., None], arguments: str = ''):
  """Parses the flags and calls `main(*arguments)`; a mistake is one sentence, status 2.

  Not absl's `app.run`: TensorFlow, imported within it, would start in graph mode.

  Args:
    main: raises ConfigError for what the user has to mend.
    arguments: what stands beside the flags, for a person: '' takes none, 'FILE' takes
      one, 'RUN...' one or more.
  """
  try:
    given = _parse_flags(sys.argv)[1:]
    if not arguments and given:
      raise config_lib.ConfigError(
        f'Unknown argument {given[0]!r}: flags start with --. See --help.'
      )
    if arguments and not given or len(given) > 1 and not arguments.endswith('...'):
      raise config_lib.ConfigError(
        f'Give {arguments}; there are {len(given)} arguments. See --help.'
      )
    main(*given)
  except config_lib.ConfigError as e:
    print(e, file=sys.stderr, flush=True)
    sys.exit(2)
  except KeyboardInterrupt:
    sys.exit(130)


def numbers(flag: flags.FlagHolder) -> List[float]:
  """The values of a launcher's list flag.

  Raises:
    ConfigError: one of them is no number.
  """
  try:
    return [float(value) for value in flag.value]
  except ValueError as e:
    raise config_lib.ConfigError(
      f'{flag.name}={",".join(flag.value)!r} is not valid: it must be numbers.'
    ) from e


def positive_integers(flag: flags.FlagHolder) -> List[int]:
  """The values of a launcher's list flag.

  Raises:
    ConfigError: there is none, or one of them is no whole number above 0.
  """
  given = ','.join(flag.value)
  try:
    values = [int(value) for value in flag.value]
  except ValueError:
    values = []
  if not values or min(values) < 1:
    raise config_lib.ConfigError(
      f'{flag.name}={given!r} is not valid: it must be whole numbers greater than 0, '
      'separated by commas.'
    )
  return values


def output_path(flag: flags.FlagHolder) -> str:
  """The value of a launcher's flag that names a file to be written.

  Raises:
    ConfigError: its directory is not there.
  """
  folder = os.path.dirname(flag.value) or '.'
  if not os.path.isdir(folder):
    raise config_lib.ConfigError(
      f'{flag.name}={flag.value!r} is not valid: {folder!r} is no directory.'
    )
  return flag.value


def figure_path(flag: flags.FlagHolder) -> str:
  """`output_path` of a figure's files, each of which adds its own suffix."""
  return re.sub(r'\.(png|pdf)$', '', output_path(flag))


def _parse_flags(argv: Sequence[str]) -> Sequence[str]:
  if any(argument in ('--help', '--helpshort', '--helpfull') for argument in argv):
    app.define_help_flags()
  try:
    return flags.FLAGS(list(argv))
  except SystemExit:
    sys.exit(0)  # Help was shown. Not with absl's 1: what was asked for was done.
  except (flags.Error, ValueError) as e:
    raise config_lib.ConfigError(' '.join(str(e).split())) from e


def define_flags():
  """Defines a flag for every config field: its type, its help, no default.

  A flag that is not given leaves the field to the preset, the environment's
  config and the defaults, in this order.
  """
  descriptions = _descriptions()
  for name, field in config_lib.fields().items():
    default = field.default
    if isinstance(default, tuple):
      default = ','.join(map(str, default))
    default = f'(default: {default})'
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
