"""Runs in one process: the default agent as a user runs it, and others in this process."""

import dataclasses
import pathlib

import numpy as np
import pytest

import acme_dsdpg
from acme_dsdpg.agent import presets
from acme_dsdpg.running import checkpointing, errors, run_directory
from tests.running import runs

FLAGS = (
  '--env=pendulum', '--hidden_sizes=16,16', '--world_model_hidden_sizes=16,16,16',
  '--num_samples=3', '--noise_dim=2', '--batch_size=8', '--min_replay_size=200',
  '--samples_per_insert=2', '--eval_every=1000', '--eval_episodes=2', '--log_every=50',
  '--num_threads=1',
  '--nojit_compile',  # Compiling takes longer than all of this run.
)  # fmt: skip


@dataclasses.dataclass
class _Run:
  """A run of 1000 steps and its resumption to 2000, with what they printed."""

  workdir: pathlib.Path
  first: runs.Program
  second: runs.Program


@pytest.fixture(scope='module', name='finished')
def _finished(tmp_path_factory):
  workdir = tmp_path_factory.mktemp('run') / 'w'

  def launch(num_steps):
    flags = (*FLAGS, f'--workdir={workdir}', f'--num_steps={num_steps}')
    program = runs.launcher('run_dsdpg.py', *flags)
    assert program.wait() == 0, program.err
    return program

  return _Run(workdir, launch(1000), launch(2000))


@pytest.mark.process
def test_a_run_writes_everything_below_its_directory(finished):
  workdir = finished.workdir
  config = run_directory.load(str(workdir))
  assert (config.env, config.task) == ('pendulum', 'swingup')
  assert (config.agent, config.num_steps) == (presets.DEFAULT_AGENT, 2000)
  assert {row['episodes'] for row in runs.rows(workdir, 'evaluator')} == {2}
  for row in runs.rows(workdir, 'learner'):
    assert np.all(np.isfinite(list(row.values())))
  assert list(workdir.glob('tensorboard/*tfevents*'))
  assert list(workdir.glob('checkpoints/*/learner.index'))
  assert {path.name for path in workdir.iterdir()} == {
    'config.json', 'logs', 'tensorboard', 'checkpoints', 'policy'
  }  # fmt: skip


@pytest.mark.process
def test_a_run_prints_what_a_person_needs_and_nothing_else(finished):
  for program, steps in ((finished.first, 1000), (finished.second, 2000)):
    first, *_, last = program.out.splitlines()
    assert str(finished.workdir) in first
    assert f'step {steps}/{steps}' in program.out
    assert f'evaluation at step {steps}' in program.out
    assert last == f'done: {finished.workdir}'
    assert not program.err


@pytest.mark.process
def test_the_same_command_goes_on_where_the_run_was(finished):
  assert 'resuming at step 1000' in finished.second.out
  assert runs.steps(finished.workdir, 'actor') == [1000, 2000]
  assert runs.steps(finished.workdir, 'evaluator') == [0, 1000, 2000]
  # An update every 8 / 2 steps after 200, and at once with the replay that is there.
  updates = runs.steps(finished.workdir, 'learner', 'learner_steps')
  assert updates == list(range(50, 451, 50))
  assert runs.rows(finished.workdir, 'evaluator')[-1]['learner_steps'] == 450


@pytest.mark.process
def test_the_policy_of_a_run_acts(finished):
  policy = acme_dsdpg.load_policy(str(finished.workdir))
  actions = policy(np.random.default_rng(0).normal(size=(5, 3)))
  assert actions.shape == (5, 1)
  assert np.all(np.abs(actions) <= 1.0)


@pytest.mark.process
@pytest.mark.slow
def test_a_run_is_looked_into(finished, tmp_path):
  flags = ('--episodes=1', f'--output={tmp_path / "d"}')
  program = runs.launcher('diagnose.py', finished.workdir, *flags)
  assert program.wait() == 0, program.err
  for text in (
    'return: obtained',
    '|dz/da|: mean',
    'actions within 5% of their bounds',
    'from the prior',
  ):
    assert text in program.out
  assert (tmp_path / 'd.png').stat().st_size > 10_000


def test_acmes_d4pg_runs_in_the_same_harness_and_resumes(tmp_path, capsys):
  values = dict(agent='d4pg', eval_every=1000)
  theirs = runs.TINY.keys() - {'hidden_sizes', 'jit_compile'}
  values.update((name, runs.TINY[name]) for name in theirs - values.keys())
  runs.run_here(tmp_path, only=values, num_steps=500)
  before = [row['critic_loss'] for row in runs.rows(tmp_path, 'learner')]
  assert len(before) == 11  # 112 updates, a row every ten.
  assert before[-1] < before[0]
  assert np.any(acme_dsdpg.load_policy(str(tmp_path))(np.ones(3)))
  runs.run_here(tmp_path, only=values, num_steps=550)
  assert 'resuming at step 500' in capsys.readouterr().out
  assert runs.steps(tmp_path, 'learner', 'learner_steps') == list(range(10, 121, 10))
  # Restored, not started anew.
  assert runs.rows(tmp_path, 'learner')[-1]['critic_loss'] < before[0]


def test_a_learner_that_diverges_ends_the_run_and_keeps_the_batch(tmp_path):
  with pytest.raises(errors.RunFailedError) as caught:
    runs.run_here(tmp_path, critic_learning_rate=1e30, max_skipped_updates=5)
  said = str(caught.value)
  assert '5 updates in a row met losses or gradients that are not finite' in said
  assert str(tmp_path / 'offending_batch.npz') in said
  with np.load(tmp_path / 'offending_batch.npz') as batch:
    assert batch['observation'].shape == (8, 3)
    assert all(np.all(np.isfinite(batch[name])) for name in batch.files)
  # What is broken is not saved.
  assert checkpointing.newest(str(tmp_path)).counts['learner_steps'] == 0


def test_a_signal_saves_the_run_and_is_an_interrupt(tmp_path, capsys):
  # Episodes are shorter than the returns are long; the signal comes in the middle of one.
  with pytest.raises(errors.RunInterruptedError):
    runs.run_here(tmp_path, 'short+terminate', eval_every=1000, n_step=5)
  assert 'interrupted: saving; the same command goes on' in capsys.readouterr().out
  counts = checkpointing.newest(str(tmp_path)).counts
  # Two of the 170 steps were of the evaluation.
  assert counts['actor_steps'] == 168
  assert counts['learner_steps'] == runs.updates_due(168)
  assert counts['train_seconds'] > runs.rows(tmp_path, 'actor')[-1]['train_seconds']
  assert runs.steps(tmp_path, 'learner', 'learner_steps') == [10, 20]
  # The same command goes on.
  runs.run_here(tmp_path, 'short', eval_every=1000, n_step=5, num_steps=200)
  assert runs.steps(tmp_path, 'evaluator') == [0, 200]
  assert runs.steps(tmp_path, 'actor')[-2:] == [198, 200]
