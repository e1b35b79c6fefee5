"""Whole distributed programs; see test_supervision.py for what their launcher does."""

import os
import pathlib
import signal
import threading

import numpy as np
import pytest

pytest.importorskip('launchpad.nodes', reason='Launchpad has no wheel here')

import acme_dsdpg
from acme_dsdpg import environments
from acme_dsdpg.agent import presets
from acme_dsdpg.running import checkpointing, distributed, nodes
from tests.running import runs, test_network_isolation

NODES = {'replay/0', 'counter/0', 'learner/0', 'evaluator/0', 'actor/0', 'stopper/0'}
FLAGS = (
  '--env=cartpole', '--agent=ddpg', '--hidden_sizes=16,16', '--eval_episodes=2',
  '--eval_every=8000', '--min_replay_size=200', '--samples_per_insert=1', '--log_every=1',
  '--num_threads=1', '--nojit_compile', '--run_distributed', '--num_actors=1',
  '--num_steps=8000',  # Seconds, in which the test looks around.
)  # fmt: skip
# Does not end by itself; an episode lasts a second.
DISTRIBUTED = dict(
  distributed=True, num_actors=2, num_steps=10**6, eval_every=10**6, checkpoint_every=1.0,
  environment_timeout=600.0,
)  # fmt: skip


def _ports(program):
  """Of the program's processes, as they listen inside of their network namespace."""
  ports = set()
  for node in runs.nodes(program).values():
    for table in ('tcp', 'tcp6'):
      try:
        lines = pathlib.Path(f'/proc/{node.pid}/net/{table}').read_text().splitlines()
      except OSError:  # It has just ended.
        continue
      for _, local, _, state, *_ in map(str.split, lines[1:]):
        if state == '0A':  # LISTEN.
          ports.add(int(local.split(':')[1], 16))
  return ports


@pytest.mark.process
def test_a_program_runs_to_its_end_and_nobody_outside_can_reach_it(tmp_path):
  workdir, home, temporary = (tmp_path / name for name in ('run', 'home', 'tmp'))
  home.mkdir()
  temporary.mkdir()
  program = runs.launcher(
    'run_dsdpg.py', *FLAGS, f'--workdir={workdir}',
    env={'HOME': str(home), 'TMPDIR': str(temporary), **runs.PROXIES},
  )  # fmt: skip
  program.wait_for(lambda: set(runs.nodes(program)) == NODES, interval=0.5)
  # Replay, counter, learner and evaluator.
  program.wait_for(lambda: len(_ports(program)) >= 4, interval=0.5)
  if 'open to the network' not in program.err:
    addresses = test_network_isolation.addresses()
    reached = [
      (address, port)
      for address in addresses
      for port in _ports(program)
      if test_network_isolation.answers(address, port)
    ]
    assert addresses
    assert not reached
  processes = list(runs.nodes(program).values())
  assert program.wait() == 0, program.err
  assert program.out.endswith(f'done: {workdir}\n')
  assert not runs.alive(processes)
  steps = runs.steps(workdir, 'evaluator')
  assert steps[0] == 0
  assert steps[-1] >= 8000
  assert steps == sorted(set(steps))
  # An actor may have come to the end of another episode meanwhile.
  episodes = list(range(1000, steps[-1] + 1, 1000))
  assert _steps(workdir)[: len(episodes)] == episodes
  # Learned all along, and the final weights are what was evaluated last.
  learner_steps = runs.steps(workdir, 'learner', 'learner_steps')
  assert learner_steps == list(range(1, len(learner_steps) + 1))
  assert runs.steps(workdir, 'evaluator', 'learner_steps')[-1] == learner_steps[-1] > 0
  assert checkpointing.newest(str(workdir)).counts['actor_steps'] >= steps[-1]
  actions = acme_dsdpg.load_policy(str(workdir))(np.zeros([3, 5]))
  assert np.all(np.abs(actions) <= 1.0)
  assert {path.name for path in (workdir / 'tensorboard').iterdir()} == {
    'actor_0', 'learner', 'evaluator'
  }  # fmt: skip
  # Nothing outside of the run directory, and nothing temporary within.
  assert not os.listdir(temporary)
  assert not (home / 'acme').exists()
  assert not list(workdir.glob('tmp*'))


def _start(workdir, faults='slow', **values):
  return runs.start(workdir, faults, **{**DISTRIBUTED, **values})


def _steps(workdir):
  """Of every episode of both actors, sorted."""
  return sorted(runs.steps(workdir, 'actor_0') + runs.steps(workdir, 'actor_1'))


@pytest.mark.process
@pytest.mark.slow
def test_a_program_goes_on_past_kills_and_interrupts_with_every_row_once(tmp_path):
  workdir = tmp_path / 'w'
  episodes = lambda index: len(runs.rows(workdir, f'actor_{index}'))
  counts = lambda: checkpointing.newest(str(workdir)).counts
  saved = lambda: int(counts()['actor_steps'])

  # An actor is killed and replaced; then the launcher is, and leaves no process.
  first = _start(workdir)
  first.wait_for(lambda: episodes(0) and episodes(1))
  count = episodes(1)
  runs.nodes(first)['actor/1'].kill()
  first.wait_for(lambda: 'actor/1 was killed by SIGKILL' in first.out)
  # One at most was the old one's.
  first.wait_for(lambda: episodes(1) > count + 1 and runs.checkpoints(workdir))
  processes = list(runs.nodes(first).values())
  first.process.kill()
  first.process.wait()
  runs.wait_for(lambda: not runs.alive(processes))
  before = saved()

  # The same command goes on. The learner is killed, which ends the run.
  second = _start(workdir)
  second.wait_for(lambda: saved() > before, interval=0.2)
  runs.nodes(second)['learner/0'].kill()
  assert second.wait() == 1
  assert 'failed: learner/0 was killed by SIGKILL' in second.err

  # Interrupted, once it acts and learns.
  before = counts()['learner_steps']
  third = _start(workdir)
  third.wait_for(lambda: any(x.startswith('step ') for x in third.out.splitlines()))
  learned = lambda: max(runs.steps(workdir, 'learner', 'learner_steps'), default=0)
  third.wait_for(lambda: learned() > before)
  reached = _steps(workdir)[-1]
  third.send(signal.SIGINT)
  assert third.wait() == 130, third.err
  assert 'the same command goes on from here' in third.out
  assert saved() >= reached

  # To its end.
  last = saved() + 100
  fourth = _start(workdir, num_steps=last)
  assert fourth.wait() == 0, fourth.err
  steps = _steps(workdir)
  assert steps == sorted(set(steps))
  assert steps[-1] >= last
  # An actor that ends between counting an episode and writing its row leaves none.
  missing = set(range(50, steps[-1] + 1, 50)) - set(steps)
  assert len(missing) <= 3
  assert not set(steps) - set(range(50, steps[-1] + 1, 50))
  first_block, last_block = runs.steps(workdir, 'evaluator')
  assert first_block == 0
  assert last <= last_block <= saved()
  updates = runs.steps(workdir, 'learner', 'learner_steps')
  assert updates == list(range(10, updates[-1] + 1, 10))
  for index in range(2):
    text = (workdir / f'logs/actor_{index}.csv').read_text()
    assert text.count('actor_steps') == 1

  # In one process: what is logged before is kept, and CPU time stays unknown.
  fifth = _start(workdir, distributed=False, num_steps=saved() + 100)
  assert fifth.wait() == 0, fifth.err
  rows = runs.rows(workdir, 'evaluator')
  assert [row['actor_steps'] for row in rows[:2]] == [0, last_block]
  assert len(rows) == 3
  assert all(np.isnan(row['train_cpu_seconds']) for row in rows)


@pytest.mark.process
@pytest.mark.slow
def test_faults_and_starvation_are_said_and_replays_end_is_the_runs(tmp_path):
  program = _start(tmp_path / 'w', 'raise+slow', starvation_timeout=2.0)
  fault = 'actor/0: WARNING: episode dropped, environment made anew: step raised'
  program.wait_for(lambda: fault in program.out and runs.rows(tmp_path / 'w', 'learner'))

  def suspended(names, text):
    """Waits for a line of this text after those processes are stopped."""
    processes = [runs.nodes(program)[name] for name in names]
    for process in processes:
      process.suspend()
    count = program.out.count(text)
    program.wait_for(lambda: program.out.count(text) > count)
    for process in processes:
      process.resume()

  suspended(['learner/0'], 'WARNING: actors have waited')
  suspended(['actor/0', 'actor/1'], 'WARNING: the learner has waited')
  processes = list(runs.nodes(program).values())
  runs.nodes(program)['replay/0'].kill()
  assert program.wait() == 1
  assert 'failed: replay/0 was killed by SIGKILL' in program.err
  assert not runs.alive(processes)


@pytest.mark.process
@pytest.mark.slow
def test_a_launcher_killed_while_it_starts_leaves_no_process(tmp_path):
  program = _start(tmp_path / 'w')
  program.wait_for((tmp_path / 'w/logs/launchpad/stopper/0').exists)
  processes = list(runs.nodes(program).values())
  assert processes
  program.process.kill()
  program.process.wait()
  runs.wait_for(lambda: not runs.alive(processes))


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.parametrize('interrupted', [True, False])
def test_every_environment_is_closed_once_however_a_program_ends(interrupted, tmp_path):
  workdir = tmp_path / 'w'
  num_steps = 10**6 if interrupted else 150
  program = _start(workdir, 'slow+tell', eval_episodes=2, num_steps=num_steps)
  program.wait_for(
    lambda: runs.rows(workdir, 'actor_0') and runs.rows(workdir, 'actor_1')
  )
  if interrupted:  # In the middle of an episode.
    program.send(signal.SIGINT)
  assert program.wait() == (130 if interrupted else 0), program.err
  logs = workdir / 'logs/launchpad'
  closed = lambda name: (logs / name).read_text().count('closed\n')
  names = ('actor/0', 'actor/1', 'evaluator/0', 'learner/0')
  assert [closed(name) for name in names] == [1, 1, 2, 0]
  assert program.out.count('closed\n') == 1  # Made for its specs.


@pytest.mark.process
def test_a_process_that_is_stopped_does_what_it_has_to_before():
  program = runs.python(
    '-c',
    'import threading\n'
    'from acme_dsdpg.running import processes\n'
    'processes.before_sigterm(lambda: print("closed", flush=True))\n'
    'print("ready", flush=True)\n'
    'lock = threading.Lock()\n'
    'lock.acquire()\n'
    'lock.acquire()\n',  # For ever.
  )
  program.wait_for(lambda: 'ready' in program.out)
  program.send(signal.SIGTERM)
  assert program.wait() == -signal.SIGTERM
  assert program.out == 'ready\nclosed\n'


def test_a_program_has_the_configured_nodes(tmp_path):
  config = presets.make_config({'env': 'cartpole', 'num_actors': 3})
  factory = environments.SuiteFactory('cartpole', 'swingup')
  program = distributed.make_program(config, str(tmp_path), factory)
  assert {label: len(group) for label, group in program.groups.items()} == {
    'replay': 1, 'counter': 1, 'learner': 1, 'evaluator': 1, 'actor': 3, 'stopper': 1
  }  # fmt: skip


def test_an_iterator_that_blocks_ends_when_all_is_over():
  over, blocked, release = threading.Event(), threading.Event(), threading.Event()

  def elements():
    yield 1
    blocked.set()
    release.wait()

  # Over as soon as it has waited for a while.
  iterator = nodes._UntilOver(
    elements(), over.is_set, lambda: blocked.is_set() and over.set()
  )
  assert next(iterator) == 1
  with pytest.raises(StopIteration):
    next(iterator)
  release.set()
