"""The directory of a run: what may be in it, and who may have it."""

import json
import os

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
    'try: run_directory._lock(sys.argv[1])\n'
    'except config.ConfigError as e: print(e)\n'
  )
  second = runs.python('-c', program, run)
  assert second.wait() == 0, second.err
  assert 'is in use by another process' in second.out
