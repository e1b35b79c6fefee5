"""Checkpoints: whole, damaged, of another run, and failures of saving."""

import dataclasses
import json
import os
import shutil

import pytest
import reverb
import tensorflow as tf

from acme_dsdpg import config as config_lib
from acme_dsdpg.agent import presets
from acme_dsdpg.running import checkpointing
from tests.running import runs

CONFIG = presets.make_config(runs.TINY)


pytestmark = pytest.mark.process  # Most need a whole run.


@pytest.fixture(scope='module', name='whole')
def _whole_run(tmp_path_factory):
  """A run saved each episode, to its end; tests copy it and leave it as it is."""
  workdir = tmp_path_factory.mktemp('whole') / 'w'
  runs.run_here(workdir, checkpoint_every=0.01)
  return workdir


@pytest.fixture(name='copy')
def _copy(whole, tmp_path):
  return shutil.copytree(whole, tmp_path / 'w')


def _newest(workdir):
  return checkpointing.newest(str(workdir))


def test_a_whole_run_keeps_three_checkpoints_and_nothing_pickled(whole):
  assert len(runs.checkpoints(whole)) == checkpointing.MAX_TO_KEEP
  assert _newest(whole).counts['actor_steps'] == 600
  assert not list(whole.rglob('*.pkl'))
  assert not list((whole / 'checkpoints/replay').iterdir())
  assert not checkpointing.is_saving(str(whole))


def test_replay_comes_back_under_todays_size_and_ratio(copy):
  checkpoint = _newest(copy)

  def serve(max_size, limiter):
    table = reverb.Table(
      'priority_table', reverb.selectors.Uniform(), reverb.selectors.Fifo(), max_size,
      limiter,
    )  # fmt: skip
    checkpointer = checkpointing.replay_checkpointer(str(copy), checkpoint, [table])
    server = reverb.Server([table], checkpointer=checkpointer)
    info = reverb.Client(f'localhost:{server.port}').server_info()['priority_table']
    server.stop()
    return info

  every = serve(10_000, reverb.rate_limiters.MinSize(1))
  # 12 episodes of 50 steps, each with 4 shorter returns at its end.
  assert every.current_size == 12 * 54
  fewer = serve(100, reverb.rate_limiters.SampleToInsertRatio(4.0, 20, 90.0))
  assert (fewer.current_size, fewer.max_size) == (100, 100)
  limiter = fewer.rate_limiter_info
  assert (limiter.samples_per_insert, limiter.min_size_to_sample) == (4.0, 20)
  # The checkpoint itself is as it was.
  assert _newest(copy).path == checkpoint.path


# Damage.


def _halve(name):
  def damage(path):
    with open(next(path.glob(name)), 'r+b') as file:
      file.truncate(os.path.getsize(file.name) // 2)

  return damage


def _flip(path):
  with open(next(path.glob('learner.data*')), 'r+b') as file:
    file.seek(100)
    byte = file.read(1)
    file.seek(100)
    file.write(bytes([byte[0] ^ 1]))


def _another_count(path):
  manifest = json.loads((path / 'manifest.json').read_text())
  manifest['counts']['learner_steps'] += 1
  (path / 'manifest.json').write_text(json.dumps(manifest))


@pytest.mark.parametrize(
  'damage',
  [
    _halve('learner.data*'),
    _halve('manifest.json'),
    _halve('replay/chunks.tfrecord'),
    lambda path: (path / 'manifest.json').unlink(),
    lambda path: (path / 'replay/DONE').unlink(),
    lambda path: (path / 'manifest.json').write_text('[]'),
    lambda path: (path / 'more').write_text('a file that was not there'),
    _flip,
    _another_count,
  ],
)
def test_a_damaged_checkpoint_is_left_aside_loudly(copy, damage, capsys):
  *_, before, last = runs.checkpoints(copy)
  damage(last)
  assert _newest(copy).path == str(before)
  assert f'WARNING: checkpoint {last} is damaged' in capsys.readouterr().err


def test_a_run_goes_on_from_the_checkpoint_before_a_damaged_one(whole, copy, capsys):
  damaged = runs.checkpoints(copy)[-1]
  _halve('learner.data*')(damaged)
  runs.run_here(copy)
  out, err = capsys.readouterr()
  assert 'is damaged and left aside' in err
  assert 'resuming at step 550' in out
  for label, key in (
    ('actor', 'actor_steps'), ('evaluator', 'actor_steps'), ('learner', 'learner_steps')
  ):  # fmt: skip
    assert runs.steps(copy, label, key) == runs.steps(whole, label, key)
  # Out of the way of those that are kept.
  assert damaged.with_name(f'{damaged.name}.damaged').exists()
  assert len(runs.checkpoints(copy)) == checkpointing.MAX_TO_KEEP


def test_where_all_are_damaged_the_run_does_not_begin_anew_by_itself(copy):
  for path in runs.checkpoints(copy):
    _flip(path)
  with pytest.raises(config_lib.ConfigError, match='is whole: --fresh begins anew'):
    _newest(copy)


def test_a_checkpoint_of_another_format_is_refused(copy):
  path = runs.checkpoints(copy)[-1] / 'manifest.json'
  path.write_text(json.dumps({**json.loads(path.read_text()), 'format': 1}))
  with pytest.raises(config_lib.ConfigError, match='another version'):
    _newest(copy)


# Starting.


def test_leftovers_of_a_killed_process_and_later_rows_are_removed(copy):
  directory = copy / 'checkpoints'
  for name in ('unfinished', 'restored', 'replay'):
    (directory / name).mkdir(exist_ok=True)
    (directory / name / 'file').touch()
  with open(copy / 'logs/actor.csv', 'a', encoding='utf-8') as file:
    file.write('650,')
  checkpoint = checkpointing.start_from_newest(str(copy), CONFIG)
  assert checkpoint.counts['actor_steps'] == runs.steps(copy, 'actor')[-1] == 600
  assert sorted(directory.iterdir()) == runs.checkpoints(copy)
  assert (copy / 'logs/actor.csv').read_text().endswith('\n')


def test_without_a_checkpoint_a_run_starts_with_empty_logs(copy):
  shutil.rmtree(copy / 'checkpoints')
  assert checkpointing.start_from_newest(str(copy), CONFIG) is None
  assert not runs.rows(copy, 'actor')


def test_another_runs_checkpoint_is_refused_with_the_differences_and_kept(copy):
  other = presets.make_config({**runs.TINY, 'hidden_sizes': (9, 8), 'sigma': 0.1})
  rows = runs.rows(copy, 'actor')
  with pytest.raises(config_lib.ConfigError) as caught:
    checkpointing.start_from_newest(str(copy), other)
  assert 'hidden_sizes was (8, 8), is (9, 8)' in str(caught.value)
  assert 'sigma was 0.3, is 0.1' in str(caught.value)
  assert runs.rows(copy, 'actor') == rows


def _record(workdir, **agent):
  """Changes the agent's fields in the config of the newest checkpoint."""
  path = runs.checkpoints(workdir)[-1] / 'manifest.json'
  manifest = json.loads(path.read_text())
  fields = {**manifest['config']['dsdpg'], **agent}
  manifest['config']['dsdpg'] = {k: v for k, v in fields.items() if v is not None}
  del manifest['checksum']
  manifest['checksum'] = checkpointing._checksum(manifest)
  path.write_text(json.dumps(manifest))


def test_a_field_younger_than_the_checkpoint_had_its_default(copy):
  _record(copy, layer_norm=None)
  assert checkpointing.start_from_newest(str(copy), CONFIG) is not None
  changed = presets.make_config({**runs.TINY, 'layer_norm': False})
  with pytest.raises(config_lib.ConfigError, match='layer_norm was True, is False'):
    checkpointing.start_from_newest(str(copy), changed)


def test_a_field_that_has_been_retired_may_be_off_and_nothing_else(copy):
  _record(copy, max_sobolev_ratio=0.0)
  assert checkpointing.start_from_newest(str(copy), CONFIG) is not None
  _record(copy, max_sobolev_ratio=0.5)
  with pytest.raises(config_lib.ConfigError, match='max_sobolev_ratio=0.5.* c179efa'):
    checkpointing.start_from_newest(str(copy), CONFIG)


def test_other_shapes_are_refused_even_under_the_same_config(tmp_path, whole):
  objects = {'critic': tf.Variable(tf.zeros([3]), name='v')}
  checkpointer = checkpointing.Checkpointer(str(tmp_path), CONFIG, objects)
  with pytest.raises(config_lib.ConfigError, match='other networks: .* was .*, is '):
    checkpointer.restore(_newest(whole))


# Saving.


class _State(tf.train.experimental.PythonState):
  """Raises when it is saved, if told to."""

  error = None

  def serialize(self):
    if self.error is not None:
      raise self.error
    return ''

  def deserialize(self, string_value):
    pass


class _Client:
  """Of a replay server that writes a file, or raises."""

  error = None

  def __init__(self, workdir):
    self._path = workdir / 'checkpoints/replay/now'

  def checkpoint(self):
    self._path.mkdir(parents=True)
    (self._path / 'chunks').write_text('transitions')
    if self.error is not None:
      raise self.error
    return str(self._path)


def _raising(error):
  def function(*_):
    raise error

  return function


@dataclasses.dataclass
class _Saving:
  """A checkpointer, and what it saves."""

  workdir: object
  state: _State
  client: _Client
  checkpointer: checkpointing.Checkpointer

  def save(self, steps):
    return self.checkpointer.save({'actor_steps': steps}, self.client)


@pytest.fixture(name='saving')
def _saving(tmp_path):
  """After one checkpoint."""
  state = _State()
  checkpointer = checkpointing.Checkpointer(str(tmp_path), CONFIG, {'state': state})
  saving = _Saving(tmp_path, state, _Client(tmp_path), checkpointer)
  assert saving.save(1)
  return saving


def test_a_checkpoint_does_not_depend_on_the_names_of_its_variables(tmp_path):
  old, new = (
    tf.Variable(tf.fill([3], value), name=name)
    for name, value in (('critic/mlp/v', 1.0), ('critic/v', 2.0))
  )
  make = lambda v: checkpointing.Checkpointer(str(tmp_path), CONFIG, {'critic': v})
  assert make(old).save({}, _Client(tmp_path))
  make(new).restore(_newest(tmp_path))
  assert list(new.numpy()) == [1.0] * 3


FULL = 'No space left on device'


@pytest.mark.parametrize(
  ('part', 'error'),
  [
    ('disk', OSError(28, FULL)),
    ('state', tf.errors.ResourceExhaustedError(None, None, FULL)),
    ('client', IndexError(FULL)),
    ('client', RuntimeError('server is gone')),
    ('client', OSError()),
  ],
)
def test_what_disk_or_replay_do_is_a_warning_and_the_earlier_checkpoint_stays(
  saving, part, error, capsys
):
  with pytest.MonkeyPatch.context() as patch:
    if part == 'disk':
      patch.setattr(os, 'fsync', _raising(error))
    else:
      patch.setattr(getattr(saving, part), 'error', error)
    assert not saving.save(2)
  out = capsys.readouterr().out
  assert out.startswith('WARNING: no checkpoint was saved, training goes on: ')
  assert len(out.splitlines()) == 1
  directory = saving.workdir / 'checkpoints'
  assert sorted(p.name for p in directory.iterdir()) == ['000001', 'replay']
  assert not list((directory / 'replay').iterdir())
  assert _newest(saving.workdir).counts == {'actor_steps': 1}
  assert saving.save(3)
  assert _newest(saving.workdir).counts == {'actor_steps': 3}


@pytest.mark.parametrize('part', ['state', 'client'])
@pytest.mark.parametrize('error', [TypeError, AttributeError, KeyError])
def test_a_mistake_in_the_program_is_raised_when_it_saves(saving, part, error):
  getattr(saving, part).error = error('in the program')
  with pytest.raises(error, match='in the program'):
    saving.save(2)
  assert _newest(saving.workdir).counts == {'actor_steps': 1}


def test_the_oldest_checkpoints_are_removed(saving):
  for steps in range(2, 6):
    assert saving.save(steps)
  assert [p.name for p in runs.checkpoints(saving.workdir)] == [
    '000003', '000004', '000005'
  ]  # fmt: skip
