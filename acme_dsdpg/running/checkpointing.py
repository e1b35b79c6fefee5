"""Checkpoints: complete cuts of a run, each a directory that appears at once.

    checkpoints/000007/
      learner.index, learner.data-*   weights, target networks, optimizer slots, step
      replay/                         Reverb's own checkpoint of the table
      manifest.json                   counts, config, and size and CRC-32 of every file

A cut is written beside its place, manifest last, and renamed: whatever ends the
process, the cuts that stand are whole. The newest whose files agree with its manifest is
resumed. Nothing in it is unpickled. TensorFlow is imported by what reads and writes
weights and replay alone.
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
from acme_dsdpg.running import notices

MAX_TO_KEEP = 3
_FORMAT = 2
_UNFINISHED = 'unfinished'
_LIVE = 'replay'  # Where the Reverb server writes; moved into the cut.
_RESTORED = 'restored'
_DAMAGED = '.damaged'


@dataclasses.dataclass(frozen=True)
class Cut:
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


def newest(workdir: str) -> Optional[Cut]:
  """The newest whole cut of a run, or None where there is none; says which are damaged.

  Raises:
    ConfigError: there are cuts, and all of them are damaged, or another version's.
  """
  cuts = _cuts(_directory(workdir))
  for path in reversed(cuts):
    try:
      return _read(path)
    except config_lib.ConfigError:
      raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as e:
      message = f'checkpoint {path} is damaged and left aside: {e}'
      print(f'WARNING: {message}', file=sys.stderr, flush=True)
  if cuts:
    raise config_lib.ConfigError(
      f'No checkpoint in {_directory(workdir)!r} is whole: --fresh begins anew.'
    )
  return None


def clean(workdir: str, cut: Optional[Cut]):
  """Removes what a killed process left; the caller is the only one in the directory.

  Args:
    workdir: the run directory.
    cut: what the run goes on from. Newer ones are damaged, and from now on named so:
      they do not count among those that are kept.
  """
  for name in (_UNFINISHED, _LIVE, _RESTORED):
    shutil.rmtree(os.path.join(_directory(workdir), name), ignore_errors=True)
  for path in _cuts(_directory(workdir)):
    if cut is not None and path > cut.path:
      shutil.rmtree(f'{path}{_DAMAGED}', ignore_errors=True)
      os.rename(path, f'{path}{_DAMAGED}')


def check_config(cut: Cut, config: config_lib.ExperimentConfig):
  """Raises ConfigError where the cut is another agent's or another environment's."""
  # A field that is younger than the cut had what is its default now.
  before = config_lib.ExperimentConfig.from_json(json.dumps(cut.config))
  different = config_lib.differences(before, config)
  if different:
    raise config_lib.ConfigError(
      f'{cut.path!r} is the checkpoint of another run: {"; ".join(different)}.'
    )


class Checkpointer:
  """Saves cuts of one run and restores from one."""

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

  def restore(self, cut: Cut):
    """Assigns every variable.

    Raises:
      ConfigError: the cut has other variables or shapes.
    """
    shapes = self._shapes()
    different = [
      f'{name} was {cut.shapes.get(name, "absent")}, is {shapes.get(name, "absent")}'
      for name in sorted({*shapes, *cut.shapes})
      if shapes.get(name) != cut.shapes.get(name)
    ]
    if different:
      shown = '; '.join(different[:5]) + ('; ...' if len(different) > 5 else '')
      raise config_lib.ConfigError(
        f'{cut.path!r} is the checkpoint of other networks: {shown}.'
      )
    self._checkpoint.read(os.path.join(cut.path, 'learner')).assert_consumed()

  def save(self, counts: Mapping[str, float], replay_client: Any) -> bool:
    """Writes a cut and removes the oldest ones; returns whether it is there.

    A failure (a full disk, say) is a warning: the earlier cuts stay, and nothing of
    the new one does.

    Args:
      counts: at this moment.
      replay_client: its server was made with `replay_checkpointer`.
    """
    unfinished = os.path.join(self._directory, _UNFINISHED)
    self.last_save = time.time()
    try:
      cuts = _cuts(self._directory)
      number = 1 + (int(os.path.basename(cuts[-1])) if cuts else 0)
      shutil.rmtree(unfinished, ignore_errors=True)
      os.makedirs(unfinished)
      self._checkpoint.write(os.path.join(unfinished, 'learner'))
      os.rename(replay_client.checkpoint(), os.path.join(unfinished, 'replay'))
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
    except Exception as e:  # Of the disk, TensorFlow's or Reverb's.
      shutil.rmtree(unfinished, ignore_errors=True)
      _empty(os.path.join(self._directory, _LIVE))
      first_line = (str(e).splitlines() or [type(e).__name__])[0]
      notices.warn(f'no checkpoint was saved, training goes on: {first_line}')
      return False
    for path in _cuts(self._directory)[:-MAX_TO_KEEP]:
      shutil.rmtree(path, ignore_errors=True)
    return True

  def _shapes(self) -> Dict[str, List[int]]:
    return {name: v.shape.as_list() for name, v in self._variables.items()}


def is_saving(workdir: str) -> bool:
  """Whether a cut is being written."""
  return os.path.isdir(os.path.join(_directory(workdir), _UNFINISHED))


def replay_checkpointer(workdir: str, cut: Optional[Cut], tables: List[Any]):
  """For `reverb.Server`: loads the cut's replay into `tables` as they are today.

  Reverb would bring back the sizes and the rate limiter of the time of saving; the
  items are loaded under today's instead, the oldest dropped where there are too many.

  Args:
    workdir: the run directory.
    cut: None starts empty.
    tables: what the server will serve, one table.
  """
  from reverb import checkpointers

  live = os.path.join(_directory(workdir), _LIVE)
  os.makedirs(live, exist_ok=True)
  fallback = None
  if cut is not None:
    fallback = os.path.join(_directory(workdir), _RESTORED)
    _adapt_replay(os.path.join(cut.path, 'replay'), fallback, tables)
  return checkpointers.DefaultCheckpointer(live, '', fallback)


def _adapt_replay(source: str, target: str, tables: List[Any]):
  """A copy of Reverb's checkpoint with the tables' present size and rate limiter."""
  from reverb.cc.checkpointing import checkpoint_pb2
  import tensorflow as tf

  shutil.rmtree(target, ignore_errors=True)
  shutil.copytree(source, target, copy_function=_link_or_copy)
  path = os.path.join(target, 'tables.tfrecord')
  by_name = {table.name: table.info for table in tables}
  records = []
  for record in tf.data.TFRecordDataset(path).as_numpy_iterator():
    saved = checkpoint_pb2.PriorityTableCheckpoint.FromString(record)
    info = by_name[saved.table_name]
    saved.max_size = info.max_size
    if len(saved.items) > info.max_size:  # A million of them are not copied in vain.
      items = sorted(saved.items, key=lambda item: item.inserted_at.ToNanoseconds())
      del saved.items[:]
      saved.items.extend(items[-info.max_size :])
    _adapt_limiter(saved.rate_limiter, info.rate_limiter_info)
    records.append(saved.SerializeToString())
  os.remove(path)  # A link to the cut's.
  with tf.io.TFRecordWriter(path) as writer:
    for record in records:
      writer.write(record)


def _link_or_copy(source: str, target: str):
  try:
    os.link(source, target)
  except OSError:  # Not every file system has links.
    shutil.copy(source, target)


def _adapt_limiter(saved, now):
  """Today's ratio and slack; the saved surplus of inserts over samples."""
  surplus = saved.insert_count * saved.samples_per_insert - saved.sample_count
  surplus = min(max(surplus, now.min_diff), now.max_diff)
  saved.sample_count = max(0, int(saved.insert_count * now.samples_per_insert - surplus))
  for field in ('samples_per_insert', 'min_diff', 'max_diff', 'min_size_to_sample'):
    setattr(saved, field, getattr(now, field))


def _directory(workdir: str) -> str:
  return os.path.join(os.path.abspath(workdir), 'checkpoints')


def _cuts(directory: str) -> List[str]:
  """Paths of the cuts, oldest first."""
  names = os.listdir(directory) if os.path.isdir(directory) else []
  return [os.path.join(directory, n) for n in sorted(names) if re.fullmatch(r'\d{6}', n)]


def _read(path: str) -> Cut:
  """Checks a cut against its manifest. Raises ValueError, OSError or KeyError."""
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
  return Cut(path, manifest['counts'], manifest['config'], manifest['shapes'])


def _files(path: str) -> List[str]:
  """Every file below `path`, relative to it."""
  return sorted(
    os.path.relpath(os.path.join(directory, name), path)
    for directory, _, names in os.walk(path)
    for name in names
  )


def _checksum(manifest: Mapping[str, Any]) -> int:
  return zlib.crc32(json.dumps(manifest, sort_keys=True).encode())


def _fingerprint(path: str, name: str) -> List[int]:
  """[size in bytes, CRC-32], of what has reached the disk."""
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
  """Of a module, an optimizer, or a variable itself."""
  variables = getattr(value, 'variables', None)
  if variables is None:
    return [value] if hasattr(value, 'assign') else []
  return list(variables() if callable(variables) else variables)
