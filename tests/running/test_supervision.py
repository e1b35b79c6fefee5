"""What the launcher of a distributed run does about its processes, which here are light.

The processes do what each test wants of them (`light_nodes`) instead of learning.
"""

import json
import logging
import signal
import sys
import types

import launchpad as lp
import pytest

from acme_dsdpg.agent import presets
from acme_dsdpg.running import checkpointing, distributed, errors, monitoring, processes
from tests.running import light_nodes, runs

pytestmark = pytest.mark.process

ALWAYS = {'replay': 'idle', 'counter': 'idle', 'learner': 'saves'}


@pytest.fixture(name='run')
def _run(tmp_path, monkeypatch):
  """Runs a program whose nodes do what is named, by label; few others are there."""

  def make_program(config, workdir, factory, checkpoint):
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


def test_the_stoppers_end_is_the_runs_and_the_learner_saves(run, tmp_path):
  run(stopper='ends_when_ready')
  assert _saved(tmp_path)
  assert not (tmp_path / 'tmp').exists()


@pytest.mark.parametrize('name', ['interrupts', 'terminates'])
def test_a_signal_is_an_interrupt_and_the_learner_saves(run, tmp_path, name, capsys):
  before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
  with pytest.raises(errors.RunInterruptedError):
    run(evaluator=name)
  assert 'interrupted: saving; the same command goes on' in capsys.readouterr().out
  assert _saved(tmp_path)
  after = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
  assert after == before


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


@pytest.mark.parametrize('label', ['replay', 'counter', 'evaluator', 'stopper'])
def test_a_process_that_is_killed_ends_the_run_and_is_named(run, label):
  assert _failure(run, **{label: 'is_killed'}).startswith(
    f'{label}/0 was killed by SIGKILL (log: '
  )


def test_a_learner_that_is_killed_is_named_once(run):
  failure = _failure(run, learner='is_killed')
  assert failure.count('learner/0 was killed by SIGKILL') == 1


def test_what_was_killed_is_named_before_what_failed_because_of_it(run, monkeypatch):
  look = distributed._watch

  def watch(processes, *args):
    for name in ('counter/0', 'replay/0'):  # Both have ended when the launcher looks.
      processes[name].wait(runs.LIMIT)
    return look(processes, *args)

  monkeypatch.setattr(distributed, '_watch', watch)
  failure = _failure(run, counter='raises', replay='is_killed')
  first, second = failure.split('\n', 1)
  assert first.startswith('replay/0 was killed by SIGKILL')
  assert second.startswith('counter/0 ended with exit status 1')


def test_an_exception_in_a_process_is_quoted_with_its_traceback(run):
  failure = _failure(run, evaluator='raises')
  assert failure.startswith('evaluator/0 ended with exit status 1 (log: ')
  assert failure.count('Traceback (most recent call last)') == 1
  assert failure.endswith('ValueError: no such robot')


def test_what_is_meant_for_the_user_is_quoted_without_a_traceback(run):
  failure = _failure(run, evaluator='explains')
  assert failure.endswith(': The actions have no bounds.')
  assert 'Traceback' not in failure


def test_an_actor_that_is_killed_is_replaced_and_its_log_goes_on(run, tmp_path, capsys):
  run(actor='is_killed_once', stopper='ends_when_replaced')
  lines = capsys.readouterr().out.splitlines()
  (replaced,) = [line for line in lines if line.endswith(': replaced')]
  assert replaced.startswith('actor/0 was killed by SIGKILL')
  assert 'actor/0: WARNING: the second one' in lines


def test_an_actor_that_is_killed_again_and_again_ends_the_run(run, monkeypatch, capsys):
  monkeypatch.setattr(distributed, '_DEATHS_WITHIN', 1e9)
  assert 'actor/0 was killed by SIGKILL' in _failure(run, actor='is_killed')
  assert capsys.readouterr().out.count(': replaced') == distributed._MAX_DEATHS - 1


def test_an_actor_that_fails_is_not_replaced(run, capsys):
  assert 'actor/0 ended with exit status 1' in _failure(run, actor='raises')
  assert ': replaced' not in capsys.readouterr().out


def test_who_waits_for_whom_is_said(run, monkeypatch, capsys):
  monkeypatch.setattr(monitoring.Starvation, 'line', lambda self: 'WARNING: waited')
  run(stopper='ends_when_ready')
  assert 'WARNING: waited' in capsys.readouterr().out


def test_each_process_sets_up_the_libraries_and_leaves_its_files_in_the_run(
  run, tmp_path, monkeypatch
):
  monkeypatch.delenv('XLA_FLAGS', raising=False)
  monkeypatch.delenv('MUJOCO_GL', raising=False)
  run(actor='describes_itself', stopper='ends_when_described')
  node = json.loads((tmp_path / 'described').read_text())
  assert node['XLA_FLAGS'] == '--xla_llvm_disable_expensive_passes=true'
  assert (node['MUJOCO_GL'], node['level']) == ('disable', logging.ERROR)
  assert node['TMPDIR'] == str(tmp_path / 'tmp')
  # An accelerator is the learner's.
  assert node['CUDA_VISIBLE_DEVICES'] == ''
