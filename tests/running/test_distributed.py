"""Launchpad programs through the launcher, as a user starts them."""

import csv
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
import types

import courier
import launchpad as lp
import numpy as np
import pytest
import tensorflow as tf

from acme_dsdpg import config as config_lib
from acme_dsdpg import environments
from acme_dsdpg.agent import presets
from acme_dsdpg.running import distributed, nodes, processes
from tests.running import light_nodes, runs

_ROOT = pathlib.Path(__file__).parents[2]
_NUM_ACTORS = 2
_FLAGS = dict(
  env='cartpole', agent='ddpg', hidden_sizes='16,16', eval_episodes=2, eval_every=1000,
  min_replay_size=200, samples_per_insert=1, jit_compile=False, log_every=1,
  num_threads=1, num_actors=_NUM_ACTORS, run_distributed=True,
)  # fmt: skip
# An actor of these cannot make its environment.
_RAISING = """
import acme_dsdpg

acme_dsdpg.set_up()
from acme_dsdpg import environments
from acme_dsdpg.agent import presets
from acme_dsdpg.running import command_line, distributed, nodes

class Factory:
  def __call__(self, seed):
    if seed == nodes.actor_seed(0, index=1, steps=0):
      raise ValueError('no such robot')
    return environments.make_environment('cartpole', 'swingup', seed)

def main(workdir):
  config = presets.make_config(
    dict(env='cartpole', task='swingup', agent='ddpg', hidden_sizes=(8, 8), num_actors=2)
  )
  distributed.run(config, workdir, Factory())

if __name__ == '__main__':
  command_line.run(main, 'WORKDIR')
"""
# A start imports TensorFlow in seven processes: on a busy machine, a matter of minutes.
_TIMEOUT = 600


def test_no_two_actors_of_runs_whose_seeds_follow_each_other_share_a_seed():
  seeds = [
    nodes.actor_seed(seed, index, steps=0, number=number)
    for seed in range(5)
    for index in range(4)
    for number in range(3)
  ]
  assert len(set(seeds)) == len(seeds)


class _Launcher:
  """A launcher's process, its output in a file, its home and temporary files apart."""

  def __init__(self, directory, command):
    self.workdir = directory / 'run'
    self.home, self.temporary = directory / 'home', directory / 'tmp'
    for path in (self.workdir.parent, self.home, self.temporary):
      path.mkdir(parents=True, exist_ok=True)
    self._output = directory / 'output'
    env = dict(os.environ, HOME=str(self.home), TMPDIR=str(self.temporary))
    with open(self._output, 'w') as file:
      self.process = subprocess.Popen(
        [sys.executable, *command], cwd=_ROOT, env=env, stdout=file, stderr=file
      )
    self._nodes = []

  @property
  def output(self):
    return self._output.read_text()

  def nodes(self):
    """Name to process of the nodes that run, all of which log to files of their own."""
    return runs.nodes(self)

  def wait_for(self, condition):
    deadline = time.time() + _TIMEOUT
    while not condition():
      assert self.process.poll() is None, self.output
      assert time.time() < deadline, self.output
      time.sleep(0.2)
    self._nodes = list(self.nodes().values())

  def wait(self):
    """The exit status, no process being left."""
    status = self.process.wait(_TIMEOUT)
    assert not runs.alive(self._nodes), self.output
    return status

  def rows(self, label):
    with open(self.workdir / 'logs' / f'{label}.csv') as file:
      return list(csv.DictReader(file))

  def steps(self, label, key='actor_steps'):
    return [int(row[key]) for row in self.rows(label)]


def _launch(directory, **flags):
  flags = {**_FLAGS, 'workdir': directory / 'run', **flags}
  return _Launcher(
    directory, ['launchers/run_dsdpg.py', *(f'--{k}={v}' for k, v in flags.items())]
  )


@pytest.fixture
def started():
  """Whatever a failing test leaves is ended."""
  launchers = []
  yield launchers.append
  for launcher in launchers:
    if launcher.process.poll() is None:
      launcher.process.terminate()
      launcher.process.wait()


@pytest.mark.process
@pytest.mark.slow
def test_interrupted_run_resumes_to_its_end(tmp_path, started):
  first = _launch(tmp_path, num_steps=10**6)
  started(first)
  logs = [first.workdir / f'logs/actor_{i}.csv' for i in range(_NUM_ACTORS)]
  first.wait_for(lambda: '\nstep ' in first.output and all(p.exists() for p in logs))
  assert set(first.nodes()) == {
    'replay/0', 'counter/0', 'learner/0', 'evaluator/0', 'actor/0', 'actor/1', 'stopper/0'
  }  # fmt: skip
  first.process.send_signal(signal.SIGINT)
  assert first.wait() == 130, first.output
  assert 'the same command goes on from here' in first.output
  assert list((first.workdir / 'checkpoints').rglob('*.index'))
  before = max(max(first.steps(f'actor_{i}'), default=0) for i in range(_NUM_ACTORS))
  learned = max(first.steps('learner', 'learner_steps'))
  earlier = len(first.rows('actor_0')), len(first.rows('actor_1'))

  second = _launch(tmp_path, num_steps=before + 500)
  started(second)
  second.wait_for(lambda: '\nstep ' in second.output)
  assert second.wait() == 0, second.output
  assert 'done' in second.output
  steps = second.steps('evaluator')
  assert steps[0] == 0
  assert steps[-1] >= before + 500
  assert steps == sorted(set(steps))
  for i in range(_NUM_ACTORS):
    assert all(step > before for step in second.steps(f'actor_{i}')[earlier[i] :])
  learner_steps = second.steps('learner', 'learner_steps')
  assert learner_steps == list(range(1, len(learner_steps) + 1))
  assert learner_steps[-1] > learned
  # The final weights are what was evaluated last.
  assert second.steps('evaluator', 'learner_steps')[-1] == learner_steps[-1]
  policy = tf.saved_model.load(str(second.workdir / 'policy'))
  action = policy(tf.zeros([3, 5])).numpy()
  assert action.shape == (3, 1)
  assert np.all(np.abs(action) <= 1)
  # Nothing outside of the run directory.
  assert not list(second.temporary.iterdir())
  assert not (second.home / 'acme').exists()
  assert not list(second.workdir.glob('tmp*'))


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.parametrize('name', ['replay/0', 'counter/0', 'evaluator/0'])
def test_killed_node_is_named(tmp_path, started, name):
  launcher = _launch(tmp_path)
  started(launcher)
  launcher.wait_for(lambda: 'actor/1' in launcher.nodes())
  start = time.time()
  launcher.nodes()[name].kill()
  assert launcher.wait() == 1
  assert time.time() - start < 10
  assert f'failed: {name} was killed by SIGKILL' in launcher.output


@pytest.mark.process
@pytest.mark.slow
def test_exception_in_a_node_is_quoted(tmp_path, started):
  script = tmp_path / 'raising.py'
  script.write_text(_RAISING)
  workdir = tmp_path / 'run'
  workdir.mkdir()
  launcher = _Launcher(tmp_path, [str(script), str(workdir)])
  started(launcher)
  launcher.wait_for(lambda: 'actor/1' in launcher.nodes())
  assert launcher.wait() == 1
  *_, said = launcher.output.partition('failed: actor/1 ended')
  assert launcher.output.count('Traceback (most recent call last)') == 1
  assert launcher.output.count('ValueError: no such robot') == 1
  assert said.strip().endswith('ValueError: no such robot')


@pytest.mark.process
def test_nodes_call_each_other_by_a_key_that_is_nowhere_but_in_their_environment(
  tmp_path, monkeypatch
):
  def make_program(config, workdir, factory, checkpoint):
    program = lp.Program('light')
    adds = program.add_node(
      lp.CourierNode(processes.Node(light_nodes.Adds), workdir), 'counter'
    )
    for label, function, *handles in (
      ('replay', light_nodes.idle),
      ('learner', light_nodes.saves),
      ('stopper', light_nodes.calls, adds),
    ):
      node = lp.PyNode(processes.Node(function), workdir, *handles)
      program.add_node(node, label)
    (replay,) = program.groups['replay']
    replay.reverb_address = types.SimpleNamespace(resolve=lambda: 'localhost:1')
    return program

  monkeypatch.setattr(sys, 'argv', ['program'])
  monkeypatch.setattr(distributed, 'make_program', make_program)
  distributed.run(presets.make_config(runs.TINY), str(tmp_path), None)
  called = json.loads((tmp_path / 'called').read_text())
  assert called == {'results': [2, 5], 'found': []}
  assert courier.KEY not in os.environ


def test_program_has_the_configured_nodes(tmp_path):
  config = config_lib.ExperimentConfig(env='cartpole', num_actors=3)
  factory = environments.SuiteFactory('cartpole', 'swingup')
  program = distributed.make_program(config, str(tmp_path), factory)
  assert {label: len(group) for label, group in program.groups.items()} == {
    'replay': 1, 'counter': 1, 'learner': 1, 'evaluator': 1, 'actor': 3, 'stopper': 1
  }  # fmt: skip


def test_blocked_iterator_ends_when_over():
  over, release = threading.Event(), threading.Event()

  def elements():
    yield 1
    release.wait()

  iterator = nodes._UntilOver(elements(), over.is_set)
  assert next(iterator) == 1
  threading.Timer(0.5, over.set).start()
  with pytest.raises(StopIteration):
    next(iterator)
  release.set()
