"""Processes of a distributed run that are killed or wait for each other."""

import pathlib
import signal
import socket
import threading
import time

import psutil

from acme_dsdpg.running import checkpointing
from tests.running import runs


def _tail(process):
  """The lines of its output as they come."""
  lines = []

  def read():
    for line in process.stdout:
      lines.append(line)

  threading.Thread(target=read, daemon=True).start()
  return lines


DISTRIBUTED = dict(distributed=True, num_actors=2, num_steps=10**6, eval_every=10**6)


def _steps(workdir):
  """Of every episode of every actor, in no order."""
  return [step for i in range(2) for step in runs.steps(workdir, f'actor_{i}')]


def _ports(process):
  """Of the program's processes, as they listen inside of their network namespace."""
  ports = set()
  for node in runs.nodes(process).values():
    for table in ('tcp', 'tcp6'):
      lines = pathlib.Path(f'/proc/{node.pid}/net/{table}').read_text().splitlines()
      for _, local, _, state, *_ in map(str.split, lines[1:]):
        if state == '0A':  # LISTEN.
          ports.add(int(local.split(':')[1], 16))
  return ports


def _answers(port):
  addresses = {
    address.address
    for interface in psutil.net_if_addrs().values()
    for address in interface
    if address.family == socket.AF_INET
  }
  for address in addresses:
    with socket.socket() as connection:
      connection.settimeout(1.0)
      if not connection.connect_ex((address, port)):
        return True
  return False


def test_actors_are_replaced_and_what_was_killed_goes_on(tmp_path):
  start = lambda name, **kwargs: runs.start(
    tmp_path / name,
    'slow',
    checkpoint_every=3.0,
    starvation_timeout=8.0,
    **{**DISTRIBUTED, **kwargs},
  )
  a, b = start('a'), start('b')
  first, second = map(_tail, (a, b))
  begun = lambda lines: any(line.startswith('step ') for line in lines)
  runs.wait_for(lambda: begun(first) and begun(second), 240, (a, b))
  killed = runs.nodes(a)['actor/1']
  killed.kill()
  before = max(_steps(tmp_path / 'a'))
  runs.wait_for(lambda: any('actor/1 was killed by SIGKILL' in x for x in first), 10)
  runs.wait_for(lambda: runs.nodes(a).get('actor/1', killed).pid != killed.pid, 10)
  num_episodes = lambda: len(runs.rows(tmp_path / 'a', 'actor_1'))
  episodes = num_episodes()
  runs.wait_for(lambda: num_episodes() > episodes + 1, 120, (a, b))
  # Whole episodes were counted, each once, and none was forgotten.
  steps = sorted(_steps(tmp_path / 'a'))
  assert steps == list(range(50, steps[-1] + 1, 50))
  assert steps[-1] > before
  # Replay and Courier both listen, and nobody outside can reach them.
  ports = _ports(a)
  assert len(ports) >= 4
  assert not any(map(_answers, ports))
  # Killed all together, one run leaves the other alone, and no process.
  nodes = runs.nodes(a)
  a.kill()
  runs.wait_for(lambda: not runs.alive(nodes.values()), 10)
  episodes = len(_steps(tmp_path / 'b'))
  runs.wait_for(lambda: len(_steps(tmp_path / 'b')) > episodes, 60, [b])
  # The learner stopped: actors wait for it. Killed: the run ends and names it.
  learner = runs.nodes(b)['learner/0']
  learner.suspend()
  runs.wait_for(lambda: any('actors have waited' in line for line in second), 60, [b])
  since = time.time()
  learner.kill()
  assert b.wait(30) == 1
  assert time.time() - since < 20  # At once, on a busy machine.
  assert 'learner/0 was killed by SIGKILL' in b.stderr.read()
  # The same command goes on from the checkpoint: no row twice, none missing.
  saved = int(checkpointing.newest(str(tmp_path / 'a')).counts['actor_steps'])
  assert 0 < saved <= steps[-1] + 100
  again = start('a', num_steps=saved + 200)
  assert again.wait(240) == 0, again.stderr.read()
  steps = sorted(_steps(tmp_path / 'a'))
  assert steps == list(range(50, steps[-1] + 1, 50))
  assert steps[-1] >= saved + 200
  for i in range(2):
    text = (tmp_path / f'a/logs/actor_{i}.csv').read_text()
    assert text.count('actor_steps') == 1


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
    start, nodes = time.time(), runs.nodes(process)
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130
    assert time.time() - start < 5
    assert not runs.alive(nodes.values())
  finally:
    process.kill()


def test_a_launcher_killed_while_it_starts_leaves_no_process(tmp_path):
  process = runs.start(tmp_path / 'w', **DISTRIBUTED)
  runs.wait_for(
    lambda: (tmp_path / 'w/logs/launchpad/stopper/0').exists(), 120, [process]
  )
  nodes = psutil.Process(process.pid).children(recursive=True)
  assert nodes
  process.kill()
  runs.wait_for(lambda: not runs.alive(nodes), 10)
