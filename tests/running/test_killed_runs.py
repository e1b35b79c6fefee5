"""Runs that are killed at the worst moments, or run out of disk."""

import os
import shutil

import pytest

from acme_dsdpg.running import checkpointing
from tests.running import runs

pytestmark = [pytest.mark.process, pytest.mark.slow]

# Does not end by itself; evaluations only at start and end.
VALUES = dict(num_steps=10**6, eval_every=10**6)


def _newest(workdir):
  return checkpointing.newest(str(workdir))


def _every_row_once(workdir, num_steps):
  """Whether the logs are those of a run that was not interrupted."""
  assert runs.steps(workdir, 'actor')[-1] == num_steps
  updates = runs.steps(workdir, 'learner', 'learner_steps')
  assert updates == list(range(10, runs.updates_due(num_steps) + 1, 10))
  steps = runs.steps(workdir, 'actor')
  assert steps == sorted(set(steps))


def test_killed_before_and_while_it_saves_a_run_comes_to_its_end(tmp_path, capsys):
  workdir = tmp_path / 'w'
  moments = (
    lambda: (workdir / 'checkpoints').exists(),  # Nothing is saved yet.
    lambda: len(runs.checkpoints(workdir)) > 1 and checkpointing.is_saving(str(workdir)),
  )
  for moment in moments:
    program = runs.start(workdir, checkpoint_every=0.01, **VALUES)
    program.wait_for(moment, interval=0.001)
    program.kill_all()
  saved = int(_newest(workdir).counts['actor_steps'])
  runs.run_here(workdir, **{**VALUES, 'num_steps': saved + 100})
  assert f'resuming at step {saved}' in capsys.readouterr().out
  _every_row_once(workdir, saved + 100)
  assert runs.steps(workdir, 'evaluator') == [0, saved + 100]
  assert not checkpointing.is_saving(str(workdir))


def test_a_full_disk_is_a_warning_and_the_old_checkpoint_stays(tmp_path):
  if shutil.which('unshare') is None:
    pytest.skip('there is no unshare here')
  disk, kept = tmp_path / 'disk', tmp_path / 'kept'
  disk.mkdir()
  script = f'mount -t tmpfs -o size=2m tmpfs {disk} && "$@" && cp -r {disk}/w {kept}'
  prefix = ['unshare', '-r', '-m', 'sh', '-c', script, 'sh']
  # A replay buffer that outgrows the disk.
  values = dict(hidden_sizes=(128, 128), checkpoint_every=0.01)
  program = runs.start(disk / 'w', prefix=prefix, **values)
  assert program.wait() == 0, program.err
  assert 'WARNING: no checkpoint was saved, training goes on' in program.out
  assert 'evaluation at step 600' in program.out
  path = _newest(kept).path
  assert path in map(str, runs.checkpoints(kept))
  names = os.listdir(kept / 'checkpoints')
  assert 'unfinished' not in names
  assert not os.listdir(kept / 'checkpoints/replay')
