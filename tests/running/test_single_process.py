"""Runs in one process: the default agent as a user runs it, others in this process."""

import dataclasses
import os
import pathlib
import signal
import threading
import time

import numpy as np
import pytest
import reverb
import tensorflow as tf

import acme_dsdpg
from acme_dsdpg.agent import presets
from acme_dsdpg.running import checkpointing, errors, run_directory, single_process
from tests.running import faulty_program, runs

FLAGS = (
  '--env=pendulum', '--hidden_sizes=[16, 16]', '--world_model_hidden_sizes=16,16,16',
  '--num_samples=3', '--noise_dim=2', '--batch_size=8', '--min_replay_size=200',
  '--samples_per_insert=1', '--eval_every=1000000', '--eval_episodes=2',
  '--log_every=10', '--num_threads=1',
  '--nojit_compile',  # Compiling takes longer than all of this run.
)  # fmt: skip


@dataclasses.dataclass
class _Run:
  """A run that was stopped, then killed, and came to its end: each start, and its end.

  Attributes:
    workdir: of all starts.
    programs: that were started.
    saved: environment steps, after each of them.
  """

  workdir: pathlib.Path
  programs: list
  saved: list


@pytest.fixture(scope='module', name='run')
def _run(tmp_path_factory):
  workdir = tmp_path_factory.mktemp('run') / 'w'
  run = _Run(workdir, [], [])

  def launch(**flags):
    flags = (f'--{name}={value}' for name, value in flags.items())
    program = runs.launcher(
      'run_dsdpg.py', *FLAGS, '--workdir=w', *flags, cwd=workdir.parent, env=runs.PROXIES
    )
    run.programs.append(program)
    return program

  def ended():
    run.saved.append(int(checkpointing.newest(str(workdir)).counts['actor_steps']))

  stopped = launch(num_steps=10**6, checkpoint_every=1000)
  stopped.wait_for(lambda: runs.rows(workdir, 'learner'))
  stopped.send(signal.SIGHUP)
  stopped.wait()
  ended()
  number = lambda: int(runs.checkpoints(workdir)[-1].name)
  before = number()
  killed = launch(num_steps=10**6, checkpoint_every=0.01)
  killed.wait_for(lambda: number() > before)
  killed.kill_all()
  ended()
  launch(num_steps=run.saved[-1] + 1000).wait()
  ended()
  return run


@pytest.mark.process
def test_a_run_writes_everything_below_its_directory(run):
  config = run_directory.load(str(run.workdir))
  assert (config.env, config.task) == ('pendulum', 'swingup')
  assert (config.agent, config.num_steps) == (presets.DEFAULT_AGENT, run.saved[-1])
  assert {row['episodes'] for row in runs.rows(run.workdir, 'evaluator')} == {2}
  for row in runs.rows(run.workdir, 'learner'):
    assert np.all(np.isfinite(list(row.values())))
  # Of two files that grow in one folder TensorBoard follows one.
  assert not list(run.workdir.glob('tensorboard/*tfevents*'))
  for label in ('actor', 'learner', 'evaluator'):
    assert list(run.workdir.glob(f'tensorboard/{label}/*tfevents*'))
  assert list(run.workdir.glob('checkpoints/*/learner.index'))
  assert {path.name for path in run.workdir.iterdir()} == {
    'config.json', 'logs', 'tensorboard', 'checkpoints', 'policy'
  }  # fmt: skip


@pytest.mark.process
def test_a_run_prints_what_a_person_needs_and_nothing_else(run):
  for program in run.programs:
    assert str(run.workdir) in program.out.splitlines()[0]
    assert 'learning begins' in program.out
    assert not program.err
  last, steps = run.programs[-1], run.saved[-1]
  assert f'step {steps}/{steps}' in last.out
  assert f'evaluation at step {steps}' in last.out
  assert last.out.splitlines()[-1] == f'done: {run.workdir}'


@pytest.mark.process
def test_a_run_that_is_stopped_saves_wherever_in_an_episode_it_is(run):
  stopped, saved = run.programs[0], run.saved[0]
  assert saved > 200
  assert stopped.process.returncode == 130
  assert 'interrupted: saving; the same command goes on from here' in stopped.out
  assert f'resuming at step {saved}' in run.programs[1].out


@pytest.mark.process
def test_a_run_that_is_killed_goes_on_from_its_last_checkpoint(run):
  _, killed, last = run.programs
  assert killed.process.returncode == -signal.SIGKILL
  assert (run.saved[1] - run.saved[0]) % 1000 == 0
  assert f'resuming at step {run.saved[1]}' in last.out
  assert last.process.returncode == 0


@pytest.mark.process
def test_a_run_that_was_stopped_and_killed_has_every_row_once(run):
  first, steps = run.saved[0], run.saved[-1]
  # The episode that was interrupted has no row, and its steps count.
  acted = runs.steps(run.workdir, 'actor')
  assert acted == [*range(1000, first + 1, 1000), *range(first + 1000, steps + 1, 1000)]
  assert runs.steps(run.workdir, 'evaluator') == [0, steps]
  # An update every 8 steps after 200, in whole calls; a row every ten.
  updates = runs.steps(run.workdir, 'learner', 'learner_steps')
  assert updates == list(range(10, updates[-1] + 1, 10))
  assert (steps - 200) / 8 - 18 < updates[-1] <= (steps - 200) / 8


@pytest.mark.process
def test_the_policy_of_a_run_acts(run):
  policy = acme_dsdpg.load_policy(str(run.workdir))
  actions = policy(np.random.default_rng(0).normal(size=(5, 3)))
  assert actions.shape == (5, 1)
  assert np.all(np.abs(actions) <= 1.0)


@pytest.mark.process
@pytest.mark.slow
def test_a_run_is_looked_into(run, tmp_path):
  flags = ('--episodes=1', f'--output={tmp_path / "d"}')
  program = runs.launcher('diagnose.py', run.workdir, *flags)
  assert program.wait() == 0, program.err
  for text in (
    'return: obtained',
    '|dz/da|: mean',
    'actions within 5% of their bounds',
    'from the prior',
  ):
    assert text in program.out
  assert (tmp_path / 'd.png').stat().st_size > 10_000


def _critic(path):
  """The critic's weights in a checkpoint, one after the other."""
  reader = tf.train.load_checkpoint(str(path / 'learner'))
  names = [
    n for n in reader.get_variable_to_shape_map() if n.startswith('critic_network')
  ]
  weights = [n for n in sorted(names) if 'OPTIMIZER_SLOT' not in n]
  return np.concatenate([reader.get_tensor(name).ravel() for name in weights])


@pytest.mark.process
def test_acmes_d4pg_runs_in_the_same_harness_and_resumes(tmp_path, capsys):
  values = {
    k: v for k, v in runs.TINY.items() if k not in ('hidden_sizes', 'jit_compile')
  }
  values.update(agent='d4pg', eval_every=1000, normalize_observations=True)
  for num_steps in (50, 300):  # To just before the first update, and on.
    runs.run_here(tmp_path, only=values, num_steps=num_steps)
  rows = runs.rows(tmp_path, 'learner')
  assert len(rows) == 5  # 56 updates, a row every ten.
  assert np.all(np.isfinite([list(row.values()) for row in rows]))
  runs.run_here(tmp_path, only=values, num_steps=350)
  assert 'resuming at step 300' in capsys.readouterr().out
  assert runs.steps(tmp_path, 'learner', 'learner_steps') == list(range(10, 71, 10))
  assert np.any(acme_dsdpg.load_policy(str(tmp_path))(np.ones(3)))
  untrained, before, after = map(_critic, runs.checkpoints(tmp_path))
  # Restored, not made anew: steps of 1e-4 do not come far.
  assert 1e-4 < np.max(np.abs(before - untrained)) < 0.02
  assert 1e-4 < np.max(np.abs(after - before)) < 0.02


@pytest.mark.process
def test_a_learner_that_diverges_ends_the_run_and_keeps_the_batch(tmp_path):
  with pytest.raises(errors.RunFailedError) as caught:
    runs.run_here(
      tmp_path, critic_learning_rate=1e30, max_skipped_updates=5, checkpoint_every=0.01
    )
  said = str(caught.value)
  assert '5 updates in a row met losses or gradients that are not finite' in said
  assert str(tmp_path / 'offending_batch.npz') in said
  with np.load(tmp_path / 'offending_batch.npz') as batch:
    assert batch['observation'].shape == (8, 6, 3)
    assert all(np.all(np.isfinite(batch[name])) for name in batch.files)
  # What is broken is not saved.
  assert checkpointing.newest(str(tmp_path)).counts['learner_steps'] == 0


@pytest.mark.process
def test_a_signal_saves_the_run_and_is_an_interrupt(tmp_path, capsys):
  # Episodes are shorter than the returns are long; the signal comes in the middle of one.
  start = time.process_time()
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
  # CPU time goes on, too, and evaluations add nothing.
  acted, evaluated = (runs.rows(tmp_path, label)[-1] for label in ('actor', 'evaluator'))
  key = 'train_cpu_seconds'
  assert evaluated[key] == acted[key] > counts[key] > 0.0
  assert acted[key] < time.process_time() - start


def _held():
  """Threads and descriptors of this process, but for the environments' threads."""
  of_environments = [t for t in threading.enumerate() if '(_work)' in t.name]
  threads = len(os.listdir('/proc/self/task')) - len(of_environments)
  return threads, len(os.listdir('/proc/self/fd'))


@pytest.mark.process
def test_seeds_in_one_process_leave_nothing_and_need_no_more_than_a_path(
  tmp_path, monkeypatch, capsys
):
  elsewhere = tmp_path / 'elsewhere'
  elsewhere.mkdir()

  class Moving(faulty_program.Factory):
    def __call__(self, seed):
      os.chdir(elsewhere)  # As some simulators do.
      return super().__call__(seed)

  for name, value in runs.PROXIES.items():
    monkeypatch.setenv(name, value)
  monkeypatch.delenv('no_grpc_proxy')
  held = []
  for seed in range(4):
    monkeypatch.chdir(tmp_path)
    values = dict(seed=np.int64(seed), hidden_sizes=[np.int32(8), 8], num_steps=60)
    config = presets.make_config({**runs.TINY, **values})
    single_process.run(config, f'runs/{seed}', Moving('none'))
    assert os.getcwd() == str(elsewhere)
    held.append(_held())
    workdir = tmp_path / f'runs/{seed}'
    assert run_directory.load(workdir) == config
    assert checkpointing.newest(str(workdir)).counts['learner_steps'] > 0
    assert acme_dsdpg.load_policy(workdir)(np.ones(3)).shape == (1,)
  assert held[3][1] <= held[0][1]
  # Threads of gRPC end when they like.
  runs.wait_for(lambda: _held()[0] <= held[0][0])
  assert not os.listdir(elsewhere)
  assert 'nothing will be learned' not in capsys.readouterr().out


@pytest.mark.process
def test_a_run_too_short_to_learn_says_so_at_its_start(tmp_path, capsys):
  runs.run_here(tmp_path, num_steps=50, eval_every=1000)
  first, *rest = capsys.readouterr().out.splitlines()
  assert first.startswith('WARNING: little or nothing will be learned: num_steps=50')
  assert 'min_replay_size=50' in first
  assert not any('learning begins' in line for line in rest)
  assert checkpointing.newest(str(tmp_path)).counts['learner_steps'] == 0


@pytest.mark.process
def test_replay_that_does_not_answer_fails_the_run_with_its_address(
  tmp_path, monkeypatch
):
  def fail(client, timeout):
    raise reverb.DeadlineExceededError(f'not within {timeout} s')

  monkeypatch.setattr(reverb.Client, 'server_info', fail)
  with pytest.raises(errors.RunFailedError, match='Replay.*localhost:.*within 300 s'):
    runs.run_here(tmp_path)
