"""Processes of a distributed run that are killed or wait for each other."""

import os
import pathlib
import signal
import threading
import time

import psutil

from acme_dsdpg import checkpointing
from tests.faults import runs


def _nodes(process):
  """Name to process of the nodes, by the files that they log to."""
  result = {}
  for child in psutil.Process(process.pid).children(recursive=True):
    path = pathlib.Path(os.readlink(f'/proc/{child.pid}/fd/1'))
    if path.parent.parent.name == 'launchpad':
      result['/'.join(path.parts[-2:])] = child
  return result


def _tail(process):
  """The lines of its output as they come."""
  lines = []

  def read():
    for line in process.stdout:
      lines.append(line)

  threading.Thread(target=read, daemon=True).start()
  return lines


DISTRIBUTED = dict(distributed=True, num_actors=2, num_steps=10**6, eval_every=10**6)


def _num_episodes(workdir, index):
  return len(runs.rows(workdir, f'actor_{index}'))


def test_a_killed_actor_is_replaced_and_two_runs_do_not_meet(tmp_path):
  a, b = [
    runs.start(tmp_path / name, 'slow', checkpoint_every=3.0, **DISTRIBUTED)
    for name in 'ab'
  ]
  first, second = map(_tail, (a, b))
  begun = lambda lines: any(line.startswith('step ') for line in lines)
  runs.wait_for(lambda: begun(first) and begun(second), 240, (a, b))
  killed = _nodes(a)['actor/1']
  killed.kill()
  runs.wait_for(lambda: any('actor/1 was killed by SIGKILL' in x for x in first), 10)
  runs.wait_for(lambda: _nodes(a).get('actor/1', killed).pid != killed.pid, 10)
  before = _num_episodes(tmp_path / 'a', 1)
  runs.wait_for(lambda: _num_episodes(tmp_path / 'a', 1) > before + 1, 120, (a, b))
  # Killed all together, one run leaves the other alone, and no process.
  nodes = _nodes(a)
  a.kill()
  runs.wait_for(lambda: not any(node.is_running() for node in nodes.values()), 10)
  before = _num_episodes(tmp_path / 'b', 0)
  runs.wait_for(lambda: _num_episodes(tmp_path / 'b', 0) > before, 60, [b])
  # The learner killed: the run ends and names it.
  start = time.time()
  _nodes(b)['learner/0'].kill()
  assert b.wait(30) == 1
  assert time.time() - start < 10
  assert 'learner/0 was killed by SIGKILL' in b.stderr.read()
  # The counts that were saved only go on.
  saved = checkpointing.newest(str(tmp_path / 'a'))
  assert saved is not None
  assert saved.counts['actor_steps'] > 0


def test_faults_and_starvation_are_said_and_two_interrupts_end_it(tmp_path):
  process = runs.start(
    tmp_path / 'w', 'raise+stall', starvation_timeout=2.0, environment_timeout=600.0,
    min_replay_size=2000, **DISTRIBUTED,
  )  # fmt: skip
  lines = _tail(process)
  said = lambda text: any(text in line for line in lines)
  try:
    runs.wait_for(lambda: said('the learner has waited'), 120, [process])
    fault = 'actor/0: WARNING: episode dropped, environment made anew: step raised'
    runs.wait_for(lambda: said(fault), 60, [process])
    start, nodes = time.time(), _nodes(process)
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130
    assert time.time() - start < 5
    assert not any(node.is_running() for node in nodes.values())
  finally:
    process.kill()


def test_a_launcher_killed_while_it_starts_leaves_no_process(tmp_path):
  process = runs.start(tmp_path / 'w', **DISTRIBUTED)
  runs.wait_for(lambda: (tmp_path / 'w/logs/launchpad/stopper/0').exists(), 60, [process])
  nodes = psutil.Process(process.pid).children(recursive=True)
  assert nodes
  process.kill()
  # Before they have imported enough to be told of its end.
  runs.wait_for(lambda: not any(node.is_running() for node in nodes), 30)
