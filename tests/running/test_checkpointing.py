"""Kill -9, damaged and foreign checkpoints, a full disk."""

import dataclasses
import json
import os
import shutil
import signal

import pytest
import tensorflow as tf

from acme_dsdpg import config as config_lib
from acme_dsdpg.running import checkpointing, log_files
from tests.running import runs


@pytest.fixture(scope='module', name='whole')
def whole_run(tmp_path_factory):
  workdir = tmp_path_factory.mktemp('whole') / 'w'
  status, out, err = runs.run(workdir)
  assert status == 0, err
  return workdir, out, err


def test_a_whole_run_keeps_three_cuts_and_is_quiet(whole):
  workdir, _, err = whole
  assert not err
  assert len(runs.cuts(workdir)) == checkpointing.MAX_TO_KEEP
  assert not list(workdir.rglob('*.pkl'))
  assert not list((workdir / 'checkpoints' / 'replay').iterdir())


def test_killed_again_and_again_it_comes_to_the_end_of_a_run_that_was_not(
  tmp_path, whole
):
  workdir = tmp_path / 'w'
  moments = (
    lambda: (workdir / 'checkpoints').exists(),  # Nothing is saved yet.
    lambda: len(runs.cuts(workdir)) > 1 and checkpointing.is_saving(str(workdir)),
    lambda: max(runs.steps(workdir, 'actor'), default=0) >= 600,
  )
  for moment in moments:
    process = runs.start(workdir, checkpoint_every=0.1)
    runs.wait_for(moment, interval=0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
  status, out, err = runs.run(workdir, checkpoint_every=0.1)
  assert status == 0, err
  assert 'resuming at step' in out
  assert not err
  for label in ('actor', 'evaluator'):
    assert runs.steps(workdir, label) == runs.steps(whole[0], label)
  learner_steps = runs.steps(workdir, 'learner', 'learner_steps')
  assert learner_steps == list(range(10, learner_steps[-1] + 1, 10))
  # An update every 8 / 2 steps after 50: 287, a row every ten.
  assert learner_steps[-1] == 280
  cut = checkpointing.newest(str(workdir))
  assert cut.counts['actor_steps'] == 1200


def test_replay_comes_back_under_todays_size_and_ratio(tmp_path, whole):
  workdir = tmp_path / 'w'
  shutil.copytree(whole[0], workdir)
  cut = checkpointing.newest(str(workdir))
  import reverb

  def serve(max_size, limiter):
    table = reverb.Table(
      'priority_table', reverb.selectors.Uniform(), reverb.selectors.Fifo(), max_size,
      limiter,
    )  # fmt: skip
    checkpointer = checkpointing.replay_checkpointer(str(workdir), cut, [table])
    server = reverb.Server([table], checkpointer=checkpointer)
    info = reverb.Client(f'localhost:{server.port}').server_info()['priority_table']
    server.stop()
    return info

  every = serve(10_000, reverb.rate_limiters.MinSize(1))
  # 24 episodes of 50 steps, each with 4 shorter returns at its end.
  assert every.current_size == 24 * 54
  fewer = serve(100, reverb.rate_limiters.SampleToInsertRatio(4.0, 20, 90.0))
  assert (fewer.current_size, fewer.max_size) == (100, 100)
  limiter = fewer.rate_limiter_info
  assert (limiter.samples_per_insert, limiter.min_size_to_sample) == (4.0, 20)
  # The cut itself is as it was.
  assert checkpointing.newest(str(workdir)).path == cut.path


def _damage(name):
  def damage(cut):
    with open(next(cut.glob(name)), 'r+b') as file:
      file.truncate(os.path.getsize(file.name) // 2)

  return damage


def _flip(cut):
  with open(next(cut.glob('learner.data*')), 'r+b') as file:
    file.seek(100)
    byte = file.read(1)
    file.seek(100)
    file.write(bytes([byte[0] ^ 1]))


def _another_count(cut):
  manifest = json.loads((cut / 'manifest.json').read_text())
  manifest['counts']['learner_steps'] += 1
  (cut / 'manifest.json').write_text(json.dumps(manifest))


@pytest.mark.parametrize(
  'damage',
  [
    _damage('learner.data*'),
    _damage('manifest.json'),
    _damage('replay/chunks.tfrecord'),
    lambda cut: (cut / 'manifest.json').unlink(),
    lambda cut: (cut / 'replay/DONE').unlink(),
    lambda cut: (cut / 'manifest.json').write_text('[]'),
    _flip,
    _another_count,
  ],
)
def test_a_damaged_cut_is_left_aside_loudly(tmp_path, whole, damage, capfd):
  workdir = tmp_path / 'w'
  shutil.copytree(whole[0], workdir)
  *_, before, last = runs.cuts(workdir)
  damage(last)
  assert checkpointing.newest(str(workdir)).path == str(before)
  assert f'WARNING: checkpoint {last} is damaged' in capfd.readouterr().err


def test_a_run_goes_on_from_the_cut_before_a_damaged_one(tmp_path, whole):
  workdir = tmp_path / 'w'
  shutil.copytree(whole[0], workdir)
  damaged = runs.cuts(workdir)[-1]
  _damage('learner.data*')(damaged)
  status, out, err = runs.run(workdir)
  assert status == 0
  assert 'is damaged and left aside' in err
  assert 'resuming at step' in out
  assert runs.steps(workdir, 'evaluator') == runs.steps(whole[0], 'evaluator')
  # Out of the way of those that are kept.
  assert damaged.with_name(f'{damaged.name}.damaged').exists()
  assert len(runs.cuts(workdir)) == checkpointing.MAX_TO_KEEP


def test_another_runs_checkpoint_is_refused_with_the_differences(tmp_path, whole):
  workdir = tmp_path / 'w'
  workdir.mkdir()
  other = config_lib.make_config({**runs.TINY, 'hidden_sizes': (9, 8), 'sigma': 0.1})
  (workdir / 'config.json').write_text(other.to_json())
  shutil.copytree(whole[0] / 'checkpoints', workdir / 'checkpoints')
  status, _, err = runs.run(workdir, hidden_sizes=(9, 8), sigma=0.1)
  assert status == 2
  assert 'hidden_sizes was (8, 8), is (9, 8)' in err
  assert 'sigma was 0.3, is 0.1' in err


def test_a_field_younger_than_the_checkpoint_had_its_default(whole):
  cut = checkpointing.newest(str(whole[0]))
  config = config_lib.make_config(runs.TINY)
  old = json.loads(json.dumps(cut.config))
  del old['dsdpg']['num_critics']
  cut = dataclasses.replace(cut, config=old)
  checkpointing.check_config(cut, config)
  changed = config_lib.make_config({**runs.TINY, 'num_critics': 2})
  with pytest.raises(config_lib.ConfigError, match='num_critics was 1, is 2'):
    checkpointing.check_config(cut, changed)


def test_other_shapes_are_refused_even_under_the_same_config(tmp_path, whole):
  cut = checkpointing.newest(str(whole[0]))
  config = config_lib.make_config(runs.TINY)
  variable = tf.Variable(tf.zeros([3]), name='v')
  checkpointer = checkpointing.Checkpointer(str(tmp_path), config, {'critic': variable})
  with pytest.raises(config_lib.ConfigError, match='other networks: .* was .*, is '):
    checkpointer.restore(cut)


def test_rows_after_the_cut_are_dropped(tmp_path):
  (tmp_path / 'logs').mkdir()
  path = tmp_path / 'logs/actor.csv'
  path.write_text('actor_steps,x\n10,1\n20,2\n30,3\n4')
  log_files.truncate(str(tmp_path), {'actor_steps': 20})
  assert path.read_text() == 'actor_steps,x\n10,1\n20,2\n'
  log_files.truncate(str(tmp_path), None)
  assert not path.read_text()


@pytest.mark.parametrize(
  'damaged', ['', ',', '\0\0\0\0', '15,', '15,1e', '15,1,1', 'x,2']
)
def test_a_damaged_row_is_dropped_and_the_others_stay(tmp_path, damaged):
  (tmp_path / 'logs').mkdir()
  path = tmp_path / 'logs/actor.csv'
  path.write_text(f'actor_steps,x\n10,1\n{damaged}\n20,2\n{damaged}\n')
  assert log_files.last_row(str(tmp_path), 'actor') == {'actor_steps': 20.0, 'x': 2.0}
  log_files.truncate(str(tmp_path), {'actor_steps': 20})
  assert path.read_text() == 'actor_steps,x\n10,1\n20,2\n'


def test_a_full_disk_is_a_warning_and_the_old_checkpoint_stays(tmp_path):
  disk = tmp_path / 'disk'
  disk.mkdir()
  script = (
    f'mount -t tmpfs -o size=2m tmpfs {disk} && "$@" && cp -r {disk}/w {tmp_path}/kept'
  )
  prefix = ['unshare', '-r', '-m', 'sh', '-c', script, 'sh']
  # A replay buffer that outgrows the disk.
  status, out, err = runs.run(
    disk / 'w', prefix=prefix, hidden_sizes=(128, 128), num_steps=600
  )
  assert status == 0, err
  assert 'WARNING: no checkpoint was saved, training goes on' in out
  assert 'evaluation at step 400' in out
  checkpoints = tmp_path / 'kept' / 'checkpoints'
  assert checkpointing.newest(str(tmp_path / 'kept')).path in map(
    str, checkpoints.iterdir()
  )
  assert not (checkpoints / 'unfinished').exists()
  assert not list((checkpoints / 'replay').iterdir())
