"""Checkpoints: everything of a run at one moment, each a directory that appears at once.

    checkpoints/000007/
      learner.index, learner.data-*   weights, target networks, optimizer slots, step
      replay/                         Reverb's own checkpoint of the table
      manifest.json                   counts, config, and size and CRC-32 of every file

A checkpoint is written beside its place, manifest last, and renamed: whatever ends the
process, the checkpoints that stand are whole. The newest whose files agree with its
manifest is resumed. Nothing in it is unpickled. TensorFlow is imported only where weights
and replay are read or written.
"""

import dataclasses
import json
import os
import re
import shutil
import sys
import time
from typing import Any, Dict, List, Mapping, Optional
import zlib

from acme_dsdpg import config as config_lib
from acme_dsdpg.running import log_files, notices, recorded_config

MAX_TO_KEEP = 3
_FORMAT = 4  # Of the files: 4 has replay as flat rows.
_UNFINISHED = 'unfinished'
_LIVE = 'replay'  # Where the Reverb server writes; moved into the checkpoint.
_RESTORED = 'restored'
_DAMAGED = '.damaged'


@dataclasses.dataclass(frozen=True)
class Checkpoint:
  """A complete checkpoint.

  Attributes:
    path: its directory.
    counts: environment and learner steps and so on at that moment.
    config: the run's, as `ExperimentConfig.to_json` has it.
    shapes: of every learned variable, by name.
  """

  path: str
  counts: Mapping[str, float]
  config: Mapping[str, Any]
  shapes: Mapping[str, List[int]]


def newest(workdir: str) -> Optional[Checkpoint]:
  """Finds the newest whole checkpoint, None if there is none; warns of damaged ones.

  Raises:
    ConfigError: there are checkpoints, and all are damaged or another version's.
  """
  paths = _paths(_directory(workdir))
  for path in reversed(paths):
    try:
      return _read(path)
    except config_lib.ConfigError:
      raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as e:
      message = f'checkpoint {path} is damaged and left aside: {e}'
      print(f'WARNING: {message}', file=sys.stderr, flush=True)
  if paths:
    raise config_lib.ConfigError(
      f'No checkpoint in {_directory(workdir)!r} is whole: --fresh begins anew.'
    )
  return None


def start_from_newest(
  workdir: str, config: config_lib.ExperimentConfig
) -> Optional[Checkpoint]:
  """Prepares a run's directory to go on from its newest whole checkpoint.

  Leftovers of a killed process are removed, and the rows of the logs that came after the
  checkpoint, as they are written again. The caller is the only one in the directory.

  Args:
    workdir: the run directory.
    config: the run's.

  Returns:
    The checkpoint, None to begin at step 0.

  Raises:
    ConfigError: the checkpoint is another run's, or all of them are damaged.
  """
  checkpoint = newest(workdir)
  if checkpoint is not None:
    _check_config(checkpoint, config)
  _clean(workdir, checkpoint)
  log_files.truncate(workdir, None if checkpoint is None else checkpoint.counts)
  return checkpoint


def _clean(workdir: str, checkpoint: Optional[Checkpoint]):
  """Removes leftovers; renames damaged ones, which do not count among those kept."""
  for name in (_UNFINISHED, _LIVE, _RESTORED):
    shutil.rmtree(os.path.join(_directory(workdir), name), ignore_errors=True)
  for path in _paths(_directory(workdir)):
    if checkpoint is not None and path > checkpoint.path:
      shutil.rmtree(f'{path}{_DAMAGED}', ignore_errors=True)
      os.rename(path, f'{path}{_DAMAGED}')


def _check_config(checkpoint: Checkpoint, config: config_lib.ExperimentConfig):
  """Raises ConfigError unless the checkpoint is of a run with this config."""
  recorded = recorded_config.read(json.dumps(checkpoint.config))
  recorded.check_resumable(checkpoint.path)
  different = config_lib.differences(recorded.config, config)
  if different:
    raise config_lib.ConfigError(
      f'{checkpoint.path!r} is the checkpoint of another run: {"; ".join(different)}.'
    )


class Checkpointer:
  """Saves checkpoints of one run and restores from one."""

  def __init__(
    self,
    workdir: str,
    config: config_lib.ExperimentConfig,
    objects: Mapping[str, Any],
  ):
    """Initializes the checkpointer.

    Args:
      workdir: the run directory.
      config: the run's.
      objects: what is saved, TensorFlow's trackables by name, all variables created.
    """
    import tensorflow as tf

    self._directory = _directory(workdir)
    self._config = json.loads(config.to_json())
    self._checkpoint = tf.train.Checkpoint(**objects)
    self._variables = {
      f'{name}/{i}:{v.name}': v
      for name, value in objects.items()
      for i, v in enumerate(_variables(value))
    }
    self.last_save = time.time()

  def restore(self, checkpoint: Checkpoint):
    """Assigns every variable.

    Raises:
      ConfigError: the checkpoint has other variables or shapes.
    """
    before, now = map(_by_number, (checkpoint.shapes, self._shapes()))
    different = [
      f'{number} was {before.get(number, "absent")}, is {now.get(number, "absent")}'
      for number in sorted({*now, *before})
      if now.get(number) != before.get(number)
    ]
    if different:
      shown = '; '.join(different[:5]) + ('; ...' if len(different) > 5 else '')
      raise config_lib.ConfigError(
        f'{checkpoint.path!r} is the checkpoint of other networks: {shown}.'
      )
    self._checkpoint.read(os.path.join(checkpoint.path, 'learner')).assert_consumed()

  def save(self, counts: Mapping[str, float], replay_client: Any) -> bool:
    """Writes a checkpoint and removes the oldest ones; returns whether it is there.

    A failure (a full disk, say) is a warning: the earlier checkpoints stay, and nothing
    of the new one does.

    Args:
      counts: at this moment.
      replay_client: its server was made with `replay_checkpointer`.
    """
    import tensorflow as tf

    unfinished = os.path.join(self._directory, _UNFINISHED)
    self.last_save = time.time()
    try:
      paths = _paths(self._directory)
      number = 1 + (int(os.path.basename(paths[-1])) if paths else 0)
      shutil.rmtree(unfinished, ignore_errors=True)
      os.makedirs(unfinished)
      self._checkpoint.write(os.path.join(unfinished, 'learner'))
      os.rename(_save_replay(replay_client), os.path.join(unfinished, 'replay'))
      # The server is up, and what it was restored from takes up the disk.
      shutil.rmtree(os.path.join(self._directory, _RESTORED), ignore_errors=True)
      manifest = {
        'format': _FORMAT,
        'counts': dict(counts),
        'config': self._config,
        'shapes': self._shapes(),
        'files': {name: _fingerprint(unfinished, name) for name in _files(unfinished)},
      }
      manifest['checksum'] = _checksum(manifest)
      with open(os.path.join(unfinished, 'manifest.json'), 'w', encoding='utf-8') as file:
        json.dump(manifest, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
      os.rename(unfinished, os.path.join(self._directory, f'{number:06d}'))
    except (OSError, tf.errors.OpError) as e:
      shutil.rmtree(unfinished, ignore_errors=True)
      _empty(os.path.join(self._directory, _LIVE))
      notices.warn(f'no checkpoint was saved, training goes on: {notices.reason(e)}')
      return False
    for path in _paths(self._directory)[:-MAX_TO_KEEP]:
      shutil.rmtree(path, ignore_errors=True)
    return True

  def _shapes(self) -> Dict[str, List[int]]:
    return {name: v.shape.as_list() for name, v in self._variables.items()}


def _by_number(shapes: Mapping[str, List[int]]) -> Dict[str, List[int]]:
  """Returns them by 'part/number': the rest of a name is who built the variable."""
  return {name.partition(':')[0]: shape for name, shape in shapes.items()}


def _save_replay(client: Any) -> str:
  """Has Reverb write its checkpoint; returns the path.

  Raises:
    OSError: that failed. Reverb gives its statuses Python's exceptions: a full disk is
      an IndexError, a server that is gone a RuntimeError.
  """
  try:
    return client.checkpoint()
  except (IndexError, RuntimeError, ValueError) as e:
    raise OSError(f'Reverb: {e}') from e


def is_saving(workdir: str) -> bool:
  """Returns whether a checkpoint is being written."""
  return os.path.isdir(os.path.join(_directory(workdir), _UNFINISHED))


def replay_checkpointer(
  workdir: str, checkpoint: Optional[Checkpoint], tables: List[Any]
):
  """Makes a checkpointer for `reverb.Server`, of the checkpoint's replay.

  Reverb would bring back the sizes and the rate limiter of the time of saving; the
  items are loaded under today's instead, the oldest dropped where there are too many.

  Args:
    workdir: the run directory.
    checkpoint: None starts empty.
    tables: what the server will serve, one table.
  """
  from reverb import checkpointers

  live = os.path.join(_directory(workdir), _LIVE)
  os.makedirs(live, exist_ok=True)
  fallback = None
  if checkpoint is not None:
    fallback = os.path.join(_directory(workdir), _RESTORED)
    _adapt_replay(os.path.join(checkpoint.path, 'replay'), fallback, tables)
  return checkpointers.DefaultCheckpointer(live, '', fallback)


def _adapt_replay(source: str, target: str, tables: List[Any]):
  """Copies Reverb's checkpoint with the tables' present size and rate limiter."""
  from reverb.cc import schema_pb2
  from reverb.cc.checkpointing import checkpoint_pb2

  shutil.rmtree(target, ignore_errors=True)
  shutil.copytree(source, target, copy_function=_link_or_copy)
  (info,) = (table.info for table in tables)
  path = os.path.join(target, 'tables.tfrecord')
  (record,) = _read_records(path)
  saved = checkpoint_pb2.PriorityTableCheckpoint.FromString(record)
  size = saved.rate_limiter.insert_count - saved.rate_limiter.delete_count
  saved.max_size = info.max_size
  _adapt_limiter(saved.rate_limiter, info.rate_limiter_info)
  _write_records(path, [saved.SerializeToString()])
  if size > info.max_size:  # A million of them are not copied in vain.
    path = os.path.join(target, 'items.tfrecord')
    inserted = lambda record: schema_pb2.PrioritizedItem.FromString(
      record
    ).inserted_at.ToNanoseconds()
    _write_records(path, sorted(_read_records(path), key=inserted)[-info.max_size :])


_COMPRESSION = 'ZLIB'  # Of Reverb's files.


def _read_records(path: str) -> List[bytes]:
  import tensorflow as tf

  options = tf.data.Options()
  options.autotune.enabled = False  # Or deleting the iterator may take a minute.
  dataset = tf.data.TFRecordDataset(path, _COMPRESSION).with_options(options)
  return list(dataset.as_numpy_iterator())


def _write_records(path: str, records: List[bytes]):
  """Writes a file in place of one that may be a link to the checkpoint's."""
  import tensorflow as tf

  os.remove(path)
  with tf.io.TFRecordWriter(path, _COMPRESSION) as writer:
    for record in records:
      writer.write(record)


def _link_or_copy(source: str, target: str):
  try:
    os.link(source, target)
  except OSError:  # Not every file system has links.
    shutil.copy(source, target)


def _adapt_limiter(saved, now):
  """Sets today's ratio and slack, and keeps the surplus of inserts over samples."""
  surplus = saved.insert_count * saved.samples_per_insert - saved.sample_count
  surplus = min(max(surplus, now.min_diff), now.max_diff)
  saved.sample_count = max(0, int(saved.insert_count * now.samples_per_insert - surplus))
  for field in ('samples_per_insert', 'min_diff', 'max_diff', 'min_size_to_sample'):
    setattr(saved, field, getattr(now, field))


def _directory(workdir: str) -> str:
  return os.path.join(os.path.abspath(workdir), 'checkpoints')


def _paths(directory: str) -> List[str]:
  """Returns the paths of the checkpoints, oldest first."""
  names = os.listdir(directory) if os.path.isdir(directory) else []
  return [os.path.join(directory, n) for n in sorted(names) if re.fullmatch(r'\d{6}', n)]


def _read(path: str) -> Checkpoint:
  """Checks a checkpoint against its manifest: ValueError, OSError or KeyError."""
  with open(os.path.join(path, 'manifest.json'), encoding='utf-8') as file:
    manifest = json.load(file)
  if manifest['format'] != _FORMAT:
    raise config_lib.ConfigError(
      f'{path!r} is the checkpoint of another version (format {manifest["format"]!r}, '
      f'not {_FORMAT}): --fresh begins anew.'
    )
  if manifest.pop('checksum') != _checksum(manifest):
    raise ValueError('manifest.json differs from what was written')
  if set(manifest['files']) != set(_files(path)) - {'manifest.json'}:
    raise ValueError('files are missing or have been added')
  for name, fingerprint in manifest['files'].items():
    if _fingerprint(path, name) != fingerprint:
      raise ValueError(f'{name} differs from what was written')
  return Checkpoint(path, manifest['counts'], manifest['config'], manifest['shapes'])


def _files(path: str) -> List[str]:
  """Returns every file below `path`, relative to it."""
  return sorted(
    os.path.relpath(os.path.join(directory, name), path)
    for directory, _, names in os.walk(path)
    for name in names
  )


def _checksum(manifest: Mapping[str, Any]) -> int:
  return zlib.crc32(json.dumps(manifest, sort_keys=True).encode())


def _fingerprint(path: str, name: str) -> List[int]:
  """Returns [size in bytes, CRC-32] of what has reached the disk."""
  size = crc = 0
  with open(os.path.join(path, name), 'rb') as file:
    os.fsync(file.fileno())
    while block := file.read(1 << 20):
      size, crc = size + len(block), zlib.crc32(block, crc)
  return [size, crc]


def _empty(directory: str):
  for name in os.listdir(directory) if os.path.isdir(directory) else ():
    shutil.rmtree(os.path.join(directory, name), ignore_errors=True)


def _variables(value: Any) -> List[Any]:
  """Returns the variables of a module or an optimizer, or a variable itself."""
  variables = getattr(value, 'variables', None)
  if variables is None:
    return [value] if hasattr(value, 'assign') else []
  return list(variables() if callable(variables) else variables)
