"""Paths that a user gives, made absolute once and checked before anything starts.

A simulator may change the working directory, and libraries read some characters of a path
as a pattern. TensorFlow is not imported here.
"""

import os
import re
import shutil
import tempfile
from typing import Union

from acme_dsdpg import config as config_lib

Path = Union[str, os.PathLike]

# Characters of TensorFlow's file patterns: what is written below such a path is never
# found again.
_PATTERN = re.compile(r'[*?\[\]\\]')
# Control characters, and what stands for bytes that are no UTF-8.
_UNPRINTABLE = re.compile(r'[\x00-\x1f\x7f\ud800-\udfff]')


def absolute(path: Path, field: str) -> str:
  """Returns the path from the root on, `~` expanded.

  Args:
    path: a string or `pathlib.Path`; relative ones begin in the working directory.
    field: what it is, for the user.

  Raises:
    ConfigError: it is empty, an address, in no known home, or cannot be printed.
  """
  check, path = config_lib.check, os.fspath(path)
  check(isinstance(path, str) and path.strip(), field, path, 'a path, and not empty')
  check('://' not in path, field, path, 'on this machine, not an address')
  expanded = os.path.expanduser(path)
  check(not expanded.startswith('~'), field, path, 'in a home directory that is known')
  try:
    result = os.path.abspath(expanded)
  except FileNotFoundError as e:
    raise config_lib.ConfigError(
      f'{field}={path!r} is relative, and the working directory is no longer there.'
    ) from e
  check(not _UNPRINTABLE.search(result), field, result, 'in UTF-8, on one line')
  return result


def directory(path: Path, field: str) -> str:
  """Returns `absolute`, of a directory that TensorFlow will write to or read from.

  Raises:
    ConfigError: as `absolute`, or TensorFlow would read it as a pattern.
  """
  result = absolute(path, field)
  config_lib.check(
    not _PATTERN.search(result),
    field,
    result,
    'without * ? [ ] and backslash, which TensorFlow reads as patterns',
  )
  return result


def check_writable(path: str, field: str):
  """Raises ConfigError where no file can be made in an existing directory."""
  try:
    with tempfile.TemporaryFile(dir=path):
      pass
  except OSError as e:
    raise config_lib.ConfigError(
      f'{field}={path!r} cannot be written: {e.strerror}.'
    ) from e


def remove(path: str):
  """Removes a file, a directory or a link, not what it points to, if it is there.

  Raises:
    OSError: it cannot be removed.
  """
  if os.path.isdir(path) and not os.path.islink(path):
    shutil.rmtree(path)
  elif os.path.lexists(path):
    os.remove(path)
