"""What the launcher of a distributed run reads of its processes."""

import types

import numpy as np
import pytest
import reverb

from acme_dsdpg.agent import presets
from acme_dsdpg.running import loggers as run_loggers
from acme_dsdpg.running import monitoring
from tests.running import runs

TRACEBACK = 'Traceback (most recent call last)\n  x\nE: y'


@pytest.fixture(name='launcher')
def _launcher(tmp_path):
  """A run directory with the row of an earlier start, and what shows the new ones."""
  (tmp_path / 'logs/launchpad/actor').mkdir(parents=True)
  (tmp_path / 'logs/actor_0.csv').write_text(
    'actor_steps,episode_return,train_seconds\n50,1.0,2.0\n'
  )
  return tmp_path, monitoring.Progress(presets.make_config(runs.TINY), str(tmp_path))


def _append(path, text):
  with open(path, 'a', encoding='utf-8') as file:
    file.write(text)


def test_rows_are_shown_once_they_are_whole_in_the_order_of_their_steps(
  launcher, capsys, monkeypatch
):
  monkeypatch.setattr(run_loggers.Progress, 'EVERY', 0.0)
  workdir, progress = launcher
  progress.show()
  assert not capsys.readouterr().out
  _append(workdir / 'logs/actor_0.csv', '150,3.0,4.0\n20')
  _append(
    workdir / 'logs/actor_1.csv',
    'actor_steps,episode_return,train_seconds\n100,2.0,4.0\n',
  )
  progress.show()
  first, second = capsys.readouterr().out.splitlines()
  assert first.startswith('step 100/600  return 2.0  25 steps/s')
  assert second.startswith('step 150/600  return 3.0  38 steps/s')
  _append(workdir / 'logs/actor_0.csv', '0,4.0,5.0\ntorn\n')
  progress.show()
  (line,) = capsys.readouterr().out.splitlines()
  assert line.startswith('step 200/600  return 4.0')


def test_warnings_of_a_process_are_shown_and_its_other_lines_are_not(launcher, capsys):
  workdir, progress = launcher
  absl = 'W0102 03:04:05.678901 123 learning.py:45] The world model diverges'
  _append(
    workdir / 'logs/launchpad/actor/0', f'hello\nWARNING: faulty\n{absl}\nWARNING: ha'
  )
  progress.show()
  assert capsys.readouterr().out == f'actor/0: WARNING: faulty\nactor/0: {absl}\n'


def test_what_every_process_may_say_is_shown_once(launcher, capsys):
  workdir, progress = launcher
  for index in (0, 1):
    _append(workdir / f'logs/launchpad/actor/{index}', 'NOTE: an episode was ended\n')
    progress.show()
  assert capsys.readouterr().out == 'NOTE: an episode was ended\n'


def test_of_episodes_in_quick_succession_one_is_shown(capsys, monkeypatch):
  clock = iter([0.0, 0.0, 0.4, 0.9, 1.1, 1.1])
  fake = types.SimpleNamespace(monotonic=lambda: next(clock))
  monkeypatch.setattr(run_loggers, 'time', fake)
  progress = run_loggers.Progress(100)
  for steps in range(4):  # Of one step each.
    progress.episode(
      {'actor_steps': steps, 'episode_return': 1.0, 'steps_per_second': 9.0}
    )
  first, second = capsys.readouterr().out.splitlines()
  assert first.startswith('step 0/100')
  assert second.startswith('step 3/100')


@pytest.mark.parametrize(
  ('log', 'status', 'expected'),
  [
    ('', 1, 'ended with exit status 1 (log: {log}): no output'),
    ('so\nand so\n', 2, 'ended with exit status 2 (log: {log}): and so'),
    (
      f'so\n{TRACEBACK}\n',
      1,
      f'ended with exit status 1 (log: {{log}}):\n{TRACEBACK}',
    ),
    ('', -9, 'was killed by SIGKILL (log: {log})'),
  ],
)
def test_the_cause_of_an_end_is_a_sentence_or_the_traceback(
  launcher, log, status, expected
):
  path = launcher[0] / 'logs/launchpad/actor/0'
  path.write_text(log)
  expected = expected.format(log=path)
  assert monitoring.cause('actor/0', status, str(launcher[0])) == f'actor/0 {expected}'


@pytest.fixture(name='replay')
def _replay():
  """A client of a server that keeps to 2 samples an insert, 4 more or less."""
  limiter = reverb.rate_limiters.SampleToInsertRatio(2.0, 2, 4.0)
  table = reverb.Table(
    'replay', reverb.selectors.Uniform(), reverb.selectors.Fifo(), 100, limiter
  )
  server = reverb.Server([table])
  yield reverb.Client(f'localhost:{server.port}')
  server.stop()


@pytest.fixture(name='look')
def _look(replay, monkeypatch):
  """Goes on by so many seconds and looks who waits for whom, of whom 60 is too long."""
  now = [0.0]
  monkeypatch.setattr(monitoring, 'time', types.SimpleNamespace(time=lambda: now[0]))
  starvation = monitoring.Starvation(replay.server_address, 60.0)

  def look(seconds):
    now[0] += seconds
    return starvation.line()

  assert look(10.0) is None
  return look


def test_before_anything_is_in_replay_the_learner_waits_for_actors(look):
  assert look(59.0) is None
  assert look(10.0).startswith(
    'WARNING: the learner has waited 69 s for actors to write to replay (0 transitions; '
    'it begins at 2).'
  )
  assert look(59.0) is None  # Said once in so many seconds.
  assert 'has waited 65 s' in look(6.0)


def _insert(replay):
  replay.insert([np.zeros(1)], {'replay': 1.0})


def test_where_the_ratio_is_reached_somebody_waits_for_the_other(replay, look):
  for _ in range(4):  # As far ahead as inserts may be.
    _insert(replay)
  assert look(10.0) is None
  assert 'actors have waited 60 s for the learner to draw from replay' in look(60.0)
  for _ in range(8):  # All of those samples.
    next(replay.sample('replay'))
  assert look(10.0) is None
  assert 'the learner has waited 60 s for actors' in look(60.0)


def test_as_long_as_somebody_passes_nobody_is_starved(replay, look):
  for _ in range(3):
    _insert(replay)
    assert look(59.0) is None


def test_a_server_that_never_answers_is_said_once_in_so_many_seconds(monkeypatch):
  now = [0.0]
  monkeypatch.setattr(monitoring, 'time', types.SimpleNamespace(time=lambda: now[0]))
  starvation = monitoring.Starvation('localhost:1', 60.0)
  lines = []
  for _ in range(13):
    now[0] += 10.0
    lines.append(starvation.line())
  assert lines.count(None) == 11
  assert lines[5] == 'WARNING: replay has not answered for 60 s: it starts, or hangs.'
  assert lines[11] == lines[5]


def test_a_server_that_is_gone_is_the_launchers_to_notice(look, monkeypatch):
  def fail(*_, **__):
    raise RuntimeError('gone')

  monkeypatch.setattr(reverb.Client, 'server_info', fail)
  assert look(600.0) is None
