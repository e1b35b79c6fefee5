"""Flags made from the config's fields. TensorFlow is not imported here."""

import contextlib
import errno
import inspect
import os
import re
import signal
import sys
from typing import Any, Callable, Dict, List, Sequence, Tuple

from absl import app, flags

from acme_dsdpg import config as config_lib
from acme_dsdpg import environments
from acme_dsdpg.agent import presets
from acme_dsdpg.running import errors, paths

# `define_flags` defines for its caller: --help shows the flags of the program's module.
flags.disclaim_key_flags()

_KINDS = {Tuple[int, ...]: int}
# What asks for help, as absl has it.
_HELP = {
  '-h': '--help', '-?': '--help', '-help': '--help', '--help': '--help',
  '-helpshort': '--helpshort', '--helpshort': '--helpshort',
  '-helpfull': '--helpfull', '--helpfull': '--helpfull',
}  # fmt: skip


def run(main: Callable[..., None], arguments: str = ''):
  """Parses the flags, calls `main(*arguments)`, and exits with a status that says how.

  0 at the end, 1 where the run failed, 2 for a user's mistake (both in a sentence), 130
  after an interrupt.

  Not absl's `app.run`: TensorFlow, imported within it, would start in graph mode.

  Args:
    main: raises ConfigError for what the user has to mend, RunFailedError and
      RunInterruptedError for a run that ends early.
    arguments: what stands beside the flags, for a person: '' takes none, 'FILE' takes
      one, 'RUN...' one or more.
  """
  _open_standard_streams()
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
    sys.stdout.flush()
  except config_lib.ConfigError as e:
    _say(e)
    sys.exit(2)
  except errors.RunFailedError as e:
    _say(f'failed: {e}')
    sys.exit(1)
  except (KeyboardInterrupt, errors.RunInterruptedError):
    sys.exit(130)
  except BrokenPipeError:  # Whoever reads stdout, `head` say, has enough.
    sys.exit(128 + signal.SIGPIPE)
  except OSError as e:
    if e.errno != errno.ENOSPC:
      raise
    _say(f'failed: {e.strerror}.')
    sys.exit(1)
  finally:
    _close_output()


def _open_standard_streams():
  """Opens stdin, stdout and stderr on nothing where they are closed.

  A file that is opened next would take the place of the closed one, and get what native
  code prints.
  """
  for number, (name, mode) in enumerate(
    (('stdin', 'r'), ('stdout', 'w'), ('stderr', 'w'))
  ):
    try:
      os.fstat(number)
    except OSError:
      descriptor = os.open(os.devnull, os.O_RDWR)
      if descriptor != number:
        os.dup2(descriptor, number)
        os.close(descriptor)
    if getattr(sys, name) is None:
      setattr(sys, name, open(number, mode, encoding='utf-8', closefd=False))


def _say(what: Any):
  with contextlib.suppress(OSError):
    print(what, file=sys.stderr, flush=True)


def _close_output():
  """Drops what cannot be written: the interpreter would complain of it at its end."""
  for number, stream in ((1, sys.stdout), (2, sys.stderr)):
    try:
      stream.flush()
    except OSError:
      descriptor = os.open(os.devnull, os.O_WRONLY)
      os.dup2(descriptor, number)
      os.close(descriptor)


def numbers(flag: flags.FlagHolder) -> List[float]:
  """Returns the values of a launcher's list flag.

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
  """Returns the values of a launcher's list flag.

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


def output_path(flag: flags.FlagHolder, suffixes: Sequence[str] = ('',)) -> str:
  """Returns the absolute path of a launcher's flag that names a file to be written.

  Args:
    flag: the launcher's.
    suffixes: of the files that will be written; they are no part of the path.

  Raises:
    ConfigError: its directory is not there, or one of the files cannot be written.
  """
  path = paths.absolute(flag.value, flag.name)
  for suffix in filter(None, suffixes):
    path = path.removesuffix(suffix)
  folder, name = os.path.split(path)
  config_lib.check(
    os.path.isdir(folder), flag.name, flag.value, f'in a directory: {folder!r} is none'
  )
  named = name and os.path.basename(flag.value)
  config_lib.check(bool(named), flag.name, flag.value, 'the name of a file')
  for suffix in suffixes:
    target = path + suffix
    try:
      there = os.path.lexists(target)
      with open(target, 'ab'):
        pass
      if not there:
        os.remove(target)
    except OSError as e:
      raise config_lib.ConfigError(
        f'{flag.name}={flag.value!r} is not valid: {target!r} cannot be written: '
        f'{e.strerror}.'
      ) from e
  return path


def _parse_flags(argv: Sequence[str]) -> Sequence[str]:
  argv = [_HELP.get(argument, argument) for argument in argv]
  if any(argument in _HELP.values() for argument in argv):
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
      flags.DEFINE_enum(enum_values=list(presets.AGENTS), **kwargs)
    else:
      flags.DEFINE_string(**kwargs)


def config_from_flags() -> config_lib.ExperimentConfig:
  """Resolves the config of the parsed flags, its environment and task checked.

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
  return presets.make_config(overrides, presets.env_overrides(env))


def _parse(name: str, kind: Any, value: Any) -> Any:
  if kind not in _KINDS:
    return value
  given = ','.join(value)
  # As Python and JSON write it, [64, 64] or (64,), as well as 64,64.
  bracketed = re.fullmatch(r'\s*(?:\[(.*?),?\s*\]|\((.*?),?\s*\))\s*', given)
  text = given if bracketed is None else bracketed[1] or bracketed[2] or ''
  try:
    return tuple(_KINDS[kind](v) for v in text.split(',') if text)
  except ValueError as e:
    raise config_lib.ConfigError(
      f'{name}={given!r} is not valid: it must be '
      f'{config_lib.type_name(kind)}, separated by commas.'
    ) from e


def _descriptions() -> Dict[str, str]:
  """Each field's description, from the dataclasses' docstrings."""
  result = {}
  for cls in (config_lib.ExperimentConfig, *config_lib.GROUPS.values()):
    text = inspect.getdoc(cls).split('Attributes:\n', 1)[1]
    for match in re.finditer(r'^  (\w+): ((?:.|\n(?=    ))*)', text, re.MULTILINE):
      result[match[1]] = ' '.join(match[2].split())
  return result
