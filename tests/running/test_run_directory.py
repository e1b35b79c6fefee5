"""The directory of a run: what may be in it, and who may have it."""

import errno
import fcntl
import json
import os
import sys

import pytest

from acme_dsdpg import config as config_lib
from acme_dsdpg.agent import presets
from acme_dsdpg.running import run_directory
from tests.running import runs

CONFIG = presets.make_config(runs.TINY)


@pytest.fixture(name='run')
def _run(tmp_path):
  """A directory with a run in it."""
  workdir = tmp_path / 'run'
  assert not run_directory.prepare(str(workdir), CONFIG, fresh=False)
  (workdir / 'logs').mkdir()
  (workdir / 'logs/actor.csv').write_text('a log')
  return workdir


def _prepare(workdir, fresh=False, **values):
  config = presets.make_config({**runs.TINY, **values})
  return run_directory.prepare(str(workdir), config, fresh)


def test_the_same_config_resumes(run):
  assert run_directory.load(str(run)) == CONFIG
  assert _prepare(run)
  assert (run / 'logs/actor.csv').exists()


def test_a_longer_run_resumes_and_is_recorded(run):
  assert _prepare(run, num_steps=10**6)
  assert run_directory.load(str(run)).num_steps == 10**6


def test_another_config_is_refused_with_the_difference_and_nothing_is_lost(run):
  with pytest.raises(config_lib.ConfigError, match='sigma was 0.3, is 0.1.*--fresh'):
    _prepare(run, sigma=0.1)
  assert run_directory.load(str(run)) == CONFIG
  assert (run / 'logs/actor.csv').exists()


def test_fresh_removes_the_run_and_nothing_beside_it(run):
  assert not _prepare(run, fresh=True, sigma=0.1)
  assert [path.name for path in run.iterdir()] == ['config.json']
  (run / 'notes.txt').write_text('mine')
  with pytest.raises(config_lib.ConfigError, match='no part of a run.*notes.txt'):
    _prepare(run, fresh=True)
  assert (run / 'notes.txt').exists()


def test_fresh_follows_no_link_out_of_the_run(run, tmp_path):
  (tmp_path / 'elsewhere').mkdir()
  (tmp_path / 'elsewhere/file').touch()
  (run / 'policy').symlink_to(tmp_path / 'elsewhere')
  assert not _prepare(run, fresh=True)
  assert (tmp_path / 'elsewhere/file').exists()


def test_a_damaged_config_is_a_sentence(run):
  (run / 'config.json').write_text('{"env": ')
  with pytest.raises(config_lib.ConfigError, match='config.json.* is damaged'):
    run_directory.load(str(run))
  (run / 'config.json').write_text(json.dumps([1]))
  with pytest.raises(config_lib.ConfigError, match='config.json.* is damaged'):
    run_directory.load(str(run))


def test_what_a_process_killed_while_it_wrote_the_config_leaves_is_no_obstacle(tmp_path):
  (tmp_path / 'config.json.tmp').write_text('{"en')
  assert not _prepare(tmp_path)
  assert os.listdir(tmp_path) == ['config.json']


@pytest.mark.process
def test_a_directory_has_one_process_at_a_time(run):
  program = (
    'import sys\n'
    'from acme_dsdpg import config\n'
    'from acme_dsdpg.running import run_directory\n'
    'try: run_directory.hold(sys.argv[1])\n'
    'except config.ConfigError as e: print(e)\n'
    'else: print("mine")\n'
  )

  def says():
    other = runs.python('-c', program, run)
    assert other.wait() == 0, other.err
    return other.out

  assert 'is in use by another process' in says()
  run_directory.release(str(run))
  assert says() == 'mine\n'


def _descriptors():
  return len(os.listdir('/proc/self/fd'))


def test_a_run_has_its_directory_as_long_as_it_lasts(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  before = _descriptors()
  with run_directory.of_run('runs/a', CONFIG) as workdir:
    assert workdir == f'{tmp_path}/runs/a'
    assert _descriptors() == before + 1
    os.chdir('/')
    assert run_directory.load(workdir) == CONFIG
  assert _descriptors() == before
  assert run_directory.load(tmp_path / 'runs/a') == CONFIG


@pytest.mark.parametrize('error', [errno.ENOLCK, errno.ENOSYS, errno.EBADF])
def test_without_locks_it_warns_once_and_goes_on(tmp_path, monkeypatch, capsys, error):
  def flock(*_):
    raise OSError(error, os.strerror(error))

  monkeypatch.setattr(fcntl, 'flock', flock)
  assert not _prepare(tmp_path / 'run')
  assert _prepare(tmp_path / 'run')
  run_directory.release(str(tmp_path / 'run'))
  out = capsys.readouterr().out
  assert out.startswith('WARNING: workdir=')
  assert f'cannot be locked ({os.strerror(error)})' in out
  assert out.count('\n') == 1


@pytest.mark.parametrize('name', ['slurm-123.out', 'nohup.out', 'job.e17', 'train.log'])
def test_the_log_of_a_job_may_be_in_it_and_stays(tmp_path, name):
  (tmp_path / name).write_text('so far')
  assert not _prepare(tmp_path)
  assert not _prepare(tmp_path, fresh=True, sigma=0.1)
  assert sorted(os.listdir(tmp_path)) == sorted(['config.json', name])
  assert (tmp_path / name).read_text() == 'so far'


def test_what_is_printed_to_may_be_in_it_under_any_name(tmp_path, monkeypatch):
  with open(tmp_path / 'printed', 'w', encoding='utf-8') as file:
    with pytest.raises(config_lib.ConfigError, match='not a run directory'):
      _prepare(tmp_path)
    monkeypatch.setattr(sys, '__stdout__', file)
    assert not _prepare(tmp_path)
    assert _prepare(tmp_path)


def test_a_directory_named_as_a_log_is_none(tmp_path):
  (tmp_path / 'a.out').mkdir()
  with pytest.raises(config_lib.ConfigError, match='not a run directory'):
    _prepare(tmp_path)


@pytest.mark.parametrize('name', ['logs', 'tensorboard', 'checkpoints'])
def test_a_link_may_be_in_a_directorys_place_if_it_leads_to_one(run, tmp_path, name):
  elsewhere = tmp_path / 'elsewhere'
  if name == 'logs':
    (run / 'logs/actor.csv').unlink()
    (run / 'logs').rmdir()
  (run / name).symlink_to(elsewhere)
  with pytest.raises(config_lib.ConfigError, match=f"{name}' is no directory"):
    _prepare(run)
  elsewhere.mkdir()
  assert _prepare(run)


def test_empty_paths_and_patterns_are_refused_before_anything_is_made(
  tmp_path, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  for workdir in ('', 'lr=[1e-3]', 'a*', 'gs://bucket/run'):
    with pytest.raises(config_lib.ConfigError, match='workdir='):
      _prepare(workdir)
  assert not os.listdir(tmp_path)
