"""A run in one process: real simulation, real Reverb, checkpoints, resumption."""

import csv
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from acme_dsdpg import config as config_lib
from acme_dsdpg.running import run_directory

ROOT = pathlib.Path(__file__).resolve().parents[2]
SMALL = (
  '--env=pendulum',
  '--hidden_sizes=16,16',
  '--world_model_hidden_sizes=16,16,16',
  '--num_samples=3',
  '--noise_dim=2',
  '--batch_size=8',
  '--min_replay_size=200',
  '--samples_per_insert=2',
  '--nojit_compile',  # Compiling takes longer than all of these runs.
  '--eval_every=1000',
  '--eval_episodes=2',
  '--log_every=50',
  '--num_threads=1',
)


def command(*args):
  return [sys.executable, str(ROOT / 'launchers' / 'run_dsdpg.py'), *args]


def launch(*args, cwd=None):
  # JAX, imported beside the tests, leaves its own level in the environment.
  env = {k: v for k, v in os.environ.items() if k != 'TF_CPP_MIN_LOG_LEVEL'}
  return subprocess.run(
    command(*args),
    capture_output=True,
    text=True,
    cwd=cwd,
    env=env,
    timeout=300,
    check=False,
  )


def rows(workdir, label):
  with open(pathlib.Path(workdir) / 'logs' / f'{label}.csv', encoding='utf-8') as file:
    return list(csv.DictReader(file))


@pytest.fixture(scope='module', name='finished')
def finished_run(tmp_path_factory):
  """A short run of the project's own agent, and what it printed."""
  workdir = tmp_path_factory.mktemp('run') / 'w'
  result = launch(*SMALL, f'--workdir={workdir}', '--num_steps=2000')
  assert result.returncode == 0, result.stderr
  return workdir, result


def test_run_writes_everything_below_its_directory(finished):
  workdir, _ = finished
  config = run_directory.load(str(workdir))
  assert (config.env, config.task, config.agent) == (
    'pendulum',
    'swingup',
    config_lib.DEFAULT_AGENT,
  )
  evaluations = rows(workdir, 'evaluator')
  assert [int(r['actor_steps']) for r in evaluations] == [0, 1000, 2000]
  assert (
    int(evaluations[-1]['learner_steps']) == 450
  )  # An update every 8 / 2 steps after 200.
  assert {r['episodes'] for r in evaluations} == {'2'}
  learner = rows(workdir, 'learner')
  assert [int(r['learner_steps']) for r in learner] == list(range(50, 451, 50))
  assert all(np.isfinite(float(v)) for row in learner for v in row.values())
  assert len(rows(workdir, 'actor')) == 2
  assert list(workdir.glob('tensorboard/*tfevents*'))
  assert list(workdir.glob('checkpoints/*/learner.index'))


def test_run_prints_what_a_person_needs_and_nothing_else(finished):
  workdir, result = finished
  out = result.stdout
  assert str(workdir) in out
  assert 'evaluation at step 2000' in out
  assert 'step 1000/2000' in out
  assert not result.stderr


def test_policy_is_a_saved_model_that_acts_alone(finished):
  workdir, _ = finished
  program = (
    'import numpy as np, tensorflow as tf\n'
    f'policy = tf.saved_model.load({str(workdir / "policy")!r})\n'
    'print(policy(np.ones((5, 3), np.float32)).shape)\n'
  )
  result = subprocess.run(
    [sys.executable, '-c', program], capture_output=True, text=True, check=True
  )
  assert result.stdout.strip() == '(5, 1)'


def look(launcher, *args):
  """Runs another launcher to its end."""
  return subprocess.run(
    [sys.executable, str(ROOT / 'launchers' / launcher), *map(str, args)],
    capture_output=True, text=True, check=False,
    env={k: v for k, v in os.environ.items() if k != 'TF_CPP_MIN_LOG_LEVEL'},
  )  # fmt: skip


def test_a_run_is_looked_into(finished, tmp_path):
  workdir, _ = finished
  flags = ('--episodes=1', '--gradients=2', '--targets=3', f'--output={tmp_path / "d"}')
  result = look('diagnose.py', workdir, *flags)
  assert result.returncode == 0, result.stderr
  for text in (
    'return: obtained',
    '|dz/da|: mean',
    'actions within 5% of their bounds',
    'from the prior',
    'dz/da against 100 simulated steps',
    'the differences to both sides: cosine, median',
    "the one-step target's by the simulator",
    'medians by the model',
  ):
    assert text in result.stdout
  assert (tmp_path / 'd.png').stat().st_size > 10_000


def test_its_models_jacobian_is_compared_with_the_simulators(finished, tmp_path):
  workdir, _ = finished

  def compare(*args):
    result = look(
      'model_jacobian.py', workdir, '--n_steps=1', *args, '--num_transitions=1000',
      '--num_tests=20', f'--output={tmp_path / "j.csv"}',
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    with open(tmp_path / 'j.csv', encoding='utf-8') as file:
      return list(csv.DictReader(file))

  table = compare('--kl_weights=0.1,10', '--updates=1,200')
  assert [(r['kl_weight'], r['updates']) for r in table] == [
    (weight, updates) for weight in ('0.1', '10.0') for updates in ('1.0', '200.0')
  ]
  for before, after in (table[:2], table[2:]):
    errors = [float(row['reconstruction_error']) for row in (before, after)]
    assert errors[1] < errors[0]
    for row in (before, after):
      assert -1.0 <= float(row['state_cosine']) <= 1.0
  assert float(table[1]['kl']) > float(table[3]['kl'])
  # In one step the pendulum moves by little beside what it does in an episode.
  (standardised,) = compare('--normalize_outcomes', '--kl_weights=0.1', '--updates=1')
  errors = [float(row['reconstruction_error']) for row in (standardised, table[0])]
  assert errors[0] > 1.3 * errors[1]


@pytest.mark.parametrize('flag', ['--n_steps=a', '--updates=0', '--updates='])
def test_a_bad_list_of_numbers_is_a_sentence(finished, flag):
  workdir, _ = finished
  result = look('model_jacobian.py', workdir, flag)
  assert result.returncode == 2
  assert 'whole numbers greater than 0' in result.stderr
  assert 'Traceback' not in result.stderr
  assert not result.stdout


def test_same_command_resumes_and_fresh_starts_anew(finished):
  workdir, _ = finished
  longer = launch(*SMALL, f'--workdir={workdir}', '--num_steps=3000')
  assert longer.returncode == 0, longer.stderr
  assert 'resuming at step 2000' in longer.stdout
  evaluations = rows(workdir, 'evaluator')
  assert [int(r['actor_steps']) for r in evaluations] == [0, 1000, 2000, 3000]
  assert int(evaluations[-1]['learner_steps']) == 450 + 250  # Its replay is there.
  other = launch(*SMALL, f'--workdir={workdir}', '--sigma=0.1')
  assert other.returncode == 2
  assert 'sigma was 0.3, is 0.1' in other.stderr
  assert 'Traceback' not in other.stderr
  assert len(rows(workdir, 'evaluator')) == 4  # Nothing lost.
  anew = launch(*SMALL, f'--workdir={workdir}', '--num_steps=1000', '--fresh')
  assert anew.returncode == 0, anew.stderr
  assert [int(r['actor_steps']) for r in rows(workdir, 'evaluator')] == [0, 1000]


def test_acmes_d4pg_runs_in_the_same_harness_and_resumes(tmp_path):
  ours = ('hidden_sizes', 'num_samples', 'noise_dim', 'nojit_compile')
  args = [arg for arg in SMALL if not any(name in arg for name in ours)]
  args += ['--agent=d4pg', f'--workdir={tmp_path / "w"}']
  result = launch(*args, '--num_steps=1000')
  assert result.returncode == 0, result.stderr
  (row,) = rows(tmp_path / 'w', 'evaluator')[1:]
  assert int(row['learner_steps']) == 200
  learner = rows(tmp_path / 'w', 'learner')
  assert [int(r['learner_steps']) for r in learner] == [50, 100, 150, 200]
  assert float(learner[-1]['critic_loss']) < float(learner[0]['critic_loss'])
  again = launch(*args, '--num_steps=1400')
  assert 'resuming at step 1000' in again.stdout, again.stderr
  # Restored, not started anew: 51 atoms' cross-entropy begins at log 51.
  resumed = rows(tmp_path / 'w', 'learner')[4]
  assert float(resumed['critic_loss']) < float(learner[0]['critic_loss'])
