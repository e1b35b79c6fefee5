"""The one directory of a run: config, logs, checkpoints, policy.

    config.json     the resolved config
    logs/*.csv      actor, learner, evaluator
    logs/native.log stderr of native code, where it is kept from the terminal
    tensorboard/    the rows of logs/*.csv
    checkpoints/    the last three: learner, counts, replay (`checkpointing`)
    policy/         SavedModel of the acting policy
    tmp/            of distributed runs

Paths may be relative to the working directory, and begin with `~`. TensorFlow is not
imported here.
"""

import contextlib
import fcntl
import os
import re
import sys
from typing import Dict, Iterator, Set

from acme_dsdpg import config as config_lib
from acme_dsdpg.running import notices, paths, recorded_config

_CONFIG = 'config.json'
_TEMPORARY = f'{_CONFIG}.tmp'
_DIRECTORIES = ('logs', 'tensorboard', 'checkpoints')  # Or links to some.
_ENTRIES = (
  _CONFIG, _TEMPORARY, *_DIRECTORIES, 'policy', 'policy.tmp', 'policy.before',
  'offending_batch.npz', 'tmp',
)  # fmt: skip
# What a job's scheduler or shell writes into the directory that it is given.
_LOG = re.compile(r'.*\.(out|err|log)|.*\.[oe]\d+')
_held: Dict[str, int] = {}  # Directory to descriptor, locked.


def default_workdir(config: config_lib.ExperimentConfig) -> str:
  """Returns runs/<env>-<task>/<agent>-seed<seed>: the same command, the same place."""
  return os.path.join(
    'runs', f'{config.env}-{config.task}', f'{config.agent}-seed{config.seed}'
  )


def prepare(
  workdir: paths.Path, config: config_lib.ExperimentConfig, fresh: bool
) -> bool:
  """Makes the directory and records the config; returns whether it resumes.

  The directory is this process's until `release`.

  Args:
    workdir: the run directory.
    config: the resolved config.
    fresh: remove what an earlier run left in it.

  Raises:
    ConfigError: the directory holds something else (beside a run: with `fresh`), or a
      run with another config, or another process is running it.
  """
  workdir = paths.directory(workdir, 'workdir')
  path = os.path.join(workdir, _CONFIG)
  if os.path.exists(workdir) and not os.path.isdir(workdir):
    raise config_lib.ConfigError(f'workdir={workdir!r} is a file, not a directory.')
  resuming = os.path.exists(path)
  try:
    entries = set(os.listdir(workdir)) if os.path.isdir(workdir) else set()
    entries -= logs_of_jobs(workdir, entries)
    if entries - {_TEMPORARY} and not resuming:
      raise config_lib.ConfigError(
        f'workdir={workdir!r} has files but no {_CONFIG}: it is not a run directory.'
      )
    foreign = sorted(entries.difference(_ENTRIES))
    if foreign and fresh:
      raise config_lib.ConfigError(
        f'fresh would remove what is no part of a run from workdir={workdir!r}: '
        f'{", ".join(foreign[:3])}{", ..." * (len(foreign) > 3)}. Move it away, or give '
        'another --workdir.'
      )
    os.makedirs(workdir, exist_ok=True)
    hold(workdir)
    if resuming and fresh:
      # The config last: without it, the rest would not be taken for a run directory.
      for entry in sorted(entries, key=lambda name: name == _CONFIG):
        paths.remove(os.path.join(workdir, entry))
      resuming = False
    _check_directories(workdir)
    if resuming:
      check_same(load(workdir, resumable=True), config, workdir)
    temporary = os.path.join(workdir, _TEMPORARY)
    with open(temporary, 'w', encoding='utf-8') as file:
      file.write(config.to_json())
    os.replace(temporary, path)
  except OSError as e:
    raise config_lib.ConfigError(
      f'workdir={workdir!r} cannot be read or written: {e.strerror}.'
    ) from e
  return resuming


@contextlib.contextmanager
def of_run(workdir: paths.Path, config: config_lib.ExperimentConfig) -> Iterator[str]:
  """Prepares the directory for the run that is the context, and releases it.

  Yields:
    Its absolute path: what happens to the working directory does no harm to the run.

  Raises:
    ConfigError: as `prepare`.
  """
  workdir = paths.directory(workdir, 'workdir')
  prepare(workdir, config, fresh=False)
  try:
    yield workdir
  finally:
    release(workdir)


def hold(workdir: str):
  """Holds a directory for this process, with a warning where there are no locks.

  Raises:
    ConfigError: another process holds it.
  """
  path = os.path.realpath(workdir)
  if path in _held:
    return
  descriptor = os.open(path, os.O_RDONLY)
  try:
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError:
    os.close(descriptor)
    raise config_lib.ConfigError(
      f'workdir={workdir!r} is in use by another process: give another --workdir.'
    ) from None
  except OSError as e:  # Not every file system has locks.
    notices.warn(
      f'workdir={workdir!r} cannot be locked ({e.strerror}): see to it that no other '
      'process runs in it.'
    )
  _held[path] = descriptor


def release(workdir: str):
  """Leaves a directory that this process holds to others."""
  descriptor = _held.pop(os.path.realpath(workdir), None)
  if descriptor is not None:
    with contextlib.suppress(OSError):
      fcntl.flock(descriptor, fcntl.LOCK_UN)  # A child may have the descriptor as well.
    os.close(descriptor)


def logs_of_jobs(workdir: str, entries: Set[str]) -> Set[str]:
  """Returns those of the entries that hold what this or an earlier job has printed."""
  printed_to = set()
  for stream in (sys.__stdout__, sys.__stderr__):
    with contextlib.suppress(AttributeError, OSError, ValueError):  # It is closed.
      status = os.fstat(stream.fileno())
      printed_to.add((status.st_dev, status.st_ino))

  def is_log(name):
    path = os.path.join(workdir, name)
    if not os.path.isfile(path):
      return False
    status = os.stat(path)
    return bool(_LOG.fullmatch(name)) or (status.st_dev, status.st_ino) in printed_to

  return {name for name in entries if name not in _ENTRIES and is_log(name)}


def _check_directories(workdir: str):
  """Raises ConfigError where something else is in a directory's place."""
  for name in _DIRECTORIES:
    path = os.path.join(workdir, name)
    if os.path.lexists(path) and not os.path.isdir(path):
      raise config_lib.ConfigError(f'{path!r} is no directory, as a run has there.')


def load(workdir: paths.Path, resumable: bool = False) -> config_lib.ExperimentConfig:
  """Reads the config of the run in `workdir`, the fields that today's config has.

  Args:
    workdir: the run directory.
    resumable: whether the run must be one that this version could go on with.

  Raises:
    ConfigError: there is none, it is damaged, or it needs an earlier version.
  """
  recorded = load_recorded(workdir)
  if resumable:
    recorded.check_resumable(workdir)
  return recorded.config


def load_recorded(workdir: paths.Path) -> recorded_config.RecordedConfig:
  """Reads the whole config of the run in `workdir`; raises ConfigError, as `load`."""
  workdir = paths.absolute(workdir, 'run directory')
  path = os.path.join(workdir, _CONFIG)
  try:
    with open(path, encoding='utf-8') as file:
      return recorded_config.read(file.read())
  except FileNotFoundError as e:
    raise config_lib.ConfigError(f'{workdir!r} is not a run directory.') from e
  except config_lib.ConfigError:
    raise
  except (ValueError, KeyError, TypeError, AttributeError, OSError) as e:
    raise config_lib.ConfigError(f'{path!r} is damaged: {e}.') from e


def check_same(
  old: config_lib.ExperimentConfig, new: config_lib.ExperimentConfig, workdir: str
):
  """Raises ConfigError where a run may not be resumed with another config."""
  different = config_lib.differences(old, new)
  if different:
    raise config_lib.ConfigError(
      f'workdir={workdir!r} holds a run with another config '
      f'({"; ".join(different)}). Give another --workdir, or --fresh to replace it.'
    )
