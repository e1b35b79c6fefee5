"""CSV logs read back and truncated."""

import pytest

from acme_dsdpg.running import log_files


@pytest.fixture(name='path')
def _path(tmp_path):
  (tmp_path / 'logs').mkdir()
  return tmp_path / 'logs/actor.csv'


def test_rows_after_the_checkpoint_are_dropped(tmp_path, path):
  path.write_text('actor_steps,x\n10,1\n20,2\n30,3\n4')
  log_files.truncate(str(tmp_path), {'actor_steps': 20})
  assert path.read_text() == 'actor_steps,x\n10,1\n20,2\n'


def test_without_a_checkpoint_no_row_stays(tmp_path, path):
  path.write_text('actor_steps,x\n10,1\n')
  log_files.truncate(str(tmp_path), None)
  assert not path.read_text()


def test_the_learners_rows_are_dropped_by_its_own_steps(tmp_path, path):
  learner = path.with_name('learner.csv')
  learner.write_text('actor_steps,learner_steps\n10,1\n10,2\n10,3\n')
  log_files.truncate(str(tmp_path), {'actor_steps': 10, 'learner_steps': 2})
  assert learner.read_text() == 'actor_steps,learner_steps\n10,1\n10,2\n'


@pytest.mark.parametrize(
  'damaged', ['', ',', '\0\0\0\0', '15,', '15,1e', '15,1,1', 'x,2']
)
def test_a_damaged_row_is_dropped_and_the_others_stay(tmp_path, path, damaged):
  path.write_text(f'actor_steps,x\n10,1\n{damaged}\n20,2\n{damaged}\n')
  assert log_files.last_row(str(tmp_path), 'actor') == {'actor_steps': 20.0, 'x': 2.0}
  log_files.truncate(str(tmp_path), {'actor_steps': 20})
  assert path.read_text() == 'actor_steps,x\n10,1\n20,2\n'


def test_a_log_that_is_missing_has_no_last_row(tmp_path):
  assert log_files.last_row(str(tmp_path), 'actor') == {}
