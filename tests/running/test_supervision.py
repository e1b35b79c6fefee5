"""What the launcher of a distributed run does about its processes, which here are light.

The processes do what each test wants of them (`light_nodes`) instead of learning.
"""

import json
import logging
import os
import signal
import sys
import types

import pytest

pytest.importorskip('launchpad.nodes', reason='Launchpad has no wheel here')

import courier
import launchpad as lp

from acme_dsdpg.agent import presets
from acme_dsdpg.running import (
  checkpointing,
  distributed,
  errors,
  monitoring,
  processes,
  signals,
)
from tests.running import light_nodes, runs

pytestmark = pytest.mark.process

ALWAYS = {'replay': 'idle', 'counter': 'idle', 'learner': 'saves'}


@pytest.fixture(name='run')
def _run(tmp_path, monkeypatch):
  """Runs a program whose nodes do what is named, by label; few others are there."""

  def make_program(config, workdir, factory, checkpoint):
    os.chdir('/')  # As a simulator may.
    program = lp.Program('light')
    for label, name in {**ALWAYS, **deeds}.items():
      function = processes.Node(getattr(light_nodes, name))
      node = program.add_node(lp.PyNode(function, workdir), label)
    for node in program.groups['replay']:
      node.reverb_address = types.SimpleNamespace(resolve=lambda: 'localhost:1')
    return program

  def run(**given):
    deeds.update(given)
    distributed.run(presets.make_config(runs.TINY), str(tmp_path), None)

  deeds = {}
  monkeypatch.setattr(sys, 'argv', ['program'])
  monkeypatch.setattr(distributed, 'make_program', make_program)
  return run


def _saved(workdir):
  return (workdir / 'saved').exists()


def _failure(run, **deeds):
  with pytest.raises(errors.RunFailedError) as caught:
    run(**deeds)
  return str(caught.value)


def test_a_run_replaces_its_killed_actors_and_ends_when_the_stopper_does(
  run, tmp_path, monkeypatch, capsys
):
  for name in ('XLA_FLAGS', 'MUJOCO_GL'):
    monkeypatch.delenv(name, raising=False)
  monkeypatch.setattr(monitoring.Starvation, 'line', lambda self: 'WARNING: waited')
  run(actor='is_killed_once', evaluator='describes_itself', stopper='ends_when_told')
  assert _saved(tmp_path)
  assert not (tmp_path / 'tmp').exists()
  lines = capsys.readouterr().out.splitlines()
  (replaced,) = [line for line in lines if line.endswith(': replaced')]
  assert replaced.startswith('actor/0 was killed by SIGKILL')
  # Its log goes on, and who waits for whom is said.
  assert 'actor/0: WARNING: the second one' in lines
  log = (tmp_path / 'logs/launchpad/actor/0').read_text()
  assert 'the first one' in log
  assert 'WARNING: waited' in lines
  # Each process sets the libraries up, and leaves its files in the run's directory.
  node = json.loads((tmp_path / 'described').read_text())
  assert node['XLA_FLAGS'] == '--xla_llvm_disable_expensive_passes=true'
  assert (node['MUJOCO_GL'], node['level']) == ('disable', logging.ERROR)
  assert node['TMPDIR'] == str(tmp_path / 'tmp')
  assert node['cwd'] == os.getcwd() != '/'
  # An accelerator is the learner's.
  assert node['CUDA_VISIBLE_DEVICES'] == ''


def test_a_signal_is_an_interrupt_and_the_learner_saves(
  run, tmp_path, capsys, monkeypatch
):
  numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
  monkeypatch.setattr(signals, 'answered', lambda: numbers)  # Even below nohup.
  before = [signal.getsignal(number) for number in numbers]
  with pytest.raises(errors.RunInterruptedError):
    run(evaluator='loses_its_terminal')
  assert 'interrupted: saving; the same command goes on' in capsys.readouterr().out
  assert _saved(tmp_path)
  assert (tmp_path / 'survived').exists()
  assert [signal.getsignal(number) for number in numbers] == before


def test_a_second_interrupt_waits_for_nobody(run, tmp_path, monkeypatch):
  monkeypatch.setattr(distributed, '_GRACE', 1e9)
  with pytest.raises(errors.RunInterruptedError):
    run(evaluator='interrupts', learner='is_interrupted_again')
  assert not _saved(tmp_path)


def test_a_learner_that_does_not_begin_to_save_is_killed_and_named(run, monkeypatch):
  monkeypatch.setattr(distributed, '_GRACE', 0.0)
  failure = _failure(run, stopper='ends_when_ready', learner='never_ends')
  assert failure.startswith('learner/0 was killed by SIGKILL')


def test_a_learner_that_saves_has_the_time_it_takes(run, tmp_path, monkeypatch):
  looks = []

  def is_saving(workdir):
    looks.append(workdir)
    if len(looks) == 3:
      light_nodes.tell(workdir, 'hours')
    return True

  monkeypatch.setattr(distributed, '_GRACE', 0.0)
  monkeypatch.setattr(checkpointing, 'is_saving', is_saving)
  run(stopper='ends_when_ready', learner='saves_for_long')
  assert _saved(tmp_path)


@pytest.mark.parametrize('label', ['counter', 'evaluator', 'learner'])
def test_a_process_that_is_killed_ends_the_run_and_is_named_once(run, label):
  failure = _failure(run, **{label: 'is_killed'})
  assert failure.startswith(f'{label}/0 was killed by SIGKILL (log: ')
  assert len(failure.splitlines()) == 1


def test_what_was_killed_is_named_before_what_failed_because_of_it(run, monkeypatch):
  look = distributed._watch

  def watch(processes, *args):
    for label in failed:  # All have ended when the launcher looks.
      processes[f'{label}/0'].wait(runs.LIMIT)
    return look(processes, *args)

  monkeypatch.setattr(distributed, '_watch', watch)
  failed = {'counter': 'raises', 'evaluator': 'explains', 'replay': 'is_killed'}
  failure = _failure(run, **failed)
  killed, rest = failure.split('\n', 1)
  assert killed.startswith('replay/0 was killed by SIGKILL')
  # An exception with its traceback; what is meant for the user without.
  assert rest.count('Traceback (most recent call last)') == 1
  assert 'counter/0 ended with exit status 1' in rest
  assert 'ValueError: no such robot' in rest
  assert 'evaluator/0 ended with exit status 1' in rest
  assert ': The actions have no bounds.' in rest


def test_an_actor_that_is_killed_again_and_again_ends_the_run(run, monkeypatch, capsys):
  monkeypatch.setattr(distributed, '_DEATHS_WITHIN', 1e9)
  assert 'actor/0 was killed by SIGKILL' in _failure(run, actor='is_killed')
  assert capsys.readouterr().out.count(': replaced') == distributed._MAX_DEATHS - 1


def test_an_actor_that_fails_is_not_replaced(run, capsys):
  assert 'actor/0 ended with exit status 1' in _failure(run, actor='raises')
  assert ': replaced' not in capsys.readouterr().out


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
