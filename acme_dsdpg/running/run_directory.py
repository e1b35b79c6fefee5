"""The one directory of a run: config, logs, checkpoints, policy.

    config.json     the resolved config
    logs/*.csv      actor, learner, evaluator
    logs/native.log stderr of native code, where it is kept from the terminal
    tensorboard/    the rows of logs/*.csv
    checkpoints/    the last three: learner, counts, replay (`checkpointing`)
    policy/         SavedModel of the acting policy
    tmp/            of distributed runs

TensorFlow is not imported here.
"""

import fcntl
import os
import shutil
from typing import Dict

from acme_dsdpg import config as config_lib
from acme_dsdpg.running import recorded_config

_CONFIG = 'config.json'
_TEMPORARY = f'{_CONFIG}.tmp'
_ENTRIES = (
  _CONFIG, _TEMPORARY, 'logs', 'tensorboard', 'checkpoints', 'policy', 'policy.tmp',
  'policy.before', 'offending_batch.npz', 'tmp',
)  # fmt: skip
_held: Dict[str, int] = {}  # Directory to descriptor, locked.


def default_workdir(config: config_lib.ExperimentConfig) -> str:
  """Returns runs/<env>-<task>/<agent>-seed<seed>: the same command, the same place."""
  return os.path.join(
    'runs', f'{config.env}-{config.task}', f'{config.agent}-seed{config.seed}'
  )


def prepare(workdir: str, config: config_lib.ExperimentConfig, fresh: bool) -> bool:
  """Makes the directory and records the config; returns whether it resumes.

  Args:
    workdir: the run directory.
    config: the resolved config.
    fresh: remove what an earlier run left in it.

  Raises:
    ConfigError: the directory holds something else (beside a run: with `fresh`), or a
      run with another config, or another process is running it.
  """
  path = os.path.join(workdir, _CONFIG)
  if os.path.exists(workdir) and not os.path.isdir(workdir):
    raise config_lib.ConfigError(f'workdir={workdir!r} is a file, not a directory.')
  resuming = os.path.exists(path)
  try:
    entries = set(os.listdir(workdir)) if os.path.isdir(workdir) else set()
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
    _lock(workdir)
    if resuming and fresh:
      _empty(workdir)
      resuming = False
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


def _lock(workdir: str):
  """Holds the directory for the life of this process, or raises ConfigError."""
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
  _held[path] = descriptor


def _empty(workdir: str):
  # The config last: without it, what is left would not be taken for a run directory.
  for entry in sorted(os.scandir(workdir), key=lambda entry: entry.name == _CONFIG):
    if entry.is_dir(follow_symlinks=False):
      shutil.rmtree(entry.path)
    else:
      os.remove(entry.path)


def load(workdir: str, resumable: bool = False) -> config_lib.ExperimentConfig:
  """Reads the config of the run in `workdir`, the fields that today's config has.

  Args:
    workdir: the run directory.
    resumable: whether the run must be one that this version could go on with.

  Raises:
    ConfigError: there is none, it is damaged, or it needs an earlier version.
  """
  recorded = _read(workdir)
  if resumable:
    recorded.check_resumable(workdir)
  return recorded.config


def _read(workdir: str) -> recorded_config.RecordedConfig:
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
