"""Faults, injected for real: what a run promises when something happens to it."""

import csv
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import threading
import time

import dm_env
from dm_env import specs
import numpy as np
import psutil
import pytest
import tensorflow as tf

from acme_dsdpg import checkpointing, guarding, interrupts, logging
from acme_dsdpg import config as config_lib

ROOT = pathlib.Path(__file__).resolve().parents[1]
TINY = dict(
  agent='ddpg', hidden_sizes=(8, 8), batch_size=8, min_replay_size=50,
  samples_per_insert=2.0, jit_compile=False, eval_every=400, eval_episodes=1,
  log_every=10, num_threads=1, num_steps=1200, checkpoint_every=1.0,
)  # fmt: skip

# Runs a small environment of 50 steps an episode, whose faults are named by the third
# argument and happen from its 230th step on.
PROGRAM = """
import json, os, pathlib, signal, sys, time

from acme_dsdpg import isolation, quiet
quiet.silence()
_OPEN = isolation.confine() if __name__ == '__main__' else None
import numpy as np
import dm_env
from dm_env import specs
from acme_dsdpg import config as config_lib, environments, run_directory


class Environment(dm_env.Environment):
  taken = 0

  def __init__(self, fault):
    self._fault = fault

  def observation_spec(self):
    return specs.Array([3], np.float32)

  def action_spec(self):
    return specs.BoundedArray([1], np.float32, -1.0, 1.0)

  def reset(self):
    self._steps = 0
    if self._fault == 'empty' and Environment.taken > 230:
      return dm_env.termination(1.0, np.ones(3, np.float32))
    return dm_env.restart(np.ones(3, np.float32))

  def step(self, action):
    self._steps += 1
    Environment.taken += 1
    observation, reward = np.full(3, self._steps / 50, np.float32), 1.0
    now = Environment.taken == 230
    always = Environment.taken >= 230
    if self._fault == 'raise' and now or self._fault == 'always' and always:
      raise RuntimeError('physics diverged')
    if self._fault == 'nan' and now:
      observation[1] = np.nan
    if self._fault == 'inf' and now:
      reward = np.inf
    if self._fault == 'hang' and now:
      time.sleep(1000)
    if self._fault == 'slow':
      time.sleep(0.02)
    if self._fault == 'stall' and always:
      time.sleep(1000)
    if self._fault == 'short' and self._steps == 2:
      return dm_env.termination(reward, observation)
    if self._steps == 50:
      return dm_env.truncation(reward, observation)
    return dm_env.transition(reward, observation)


class Factory:
  def __init__(self, fault):
    self._fault = fault

  def __call__(self, seed):
    return environments.wrap(Environment(self._fault))


if __name__ == '__main__':
  values = json.loads(sys.argv[2])
  values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
  distributed = values.pop('distributed', False)
  config = config_lib.make_config(values)
  try:
    run_directory.prepare(sys.argv[1], config, fresh=False)
    from acme_dsdpg import guarding
    if distributed:
      from acme_dsdpg import distributed
      sys.exit(distributed.launch(config, sys.argv[1], Factory(sys.argv[3])))
    from acme_dsdpg import experiment
    experiment.run_experiment(config, sys.argv[1], Factory(sys.argv[3]))
  except config_lib.ConfigError as e:
    print(e, file=sys.stderr)
    sys.exit(2)
  except guarding.RunFailedError as e:
    sys.exit(f'failed: {e}')
"""


@pytest.fixture(scope='module', name='program')
def written_program(tmp_path_factory):
  path = tmp_path_factory.mktemp('program') / 'faulty.py'
  path.write_text(PROGRAM)
  return path


def _start(program, workdir, fault='none', prefix=(), **values):
  environment = {k: v for k, v in os.environ.items() if k != 'TF_CPP_MIN_LOG_LEVEL'}
  environment['PYTHONPATH'] = f'{ROOT}{os.pathsep}{program.parent}'
  values = json.dumps({**TINY, **values})
  return subprocess.Popen(
    [*prefix, sys.executable, str(program), str(workdir), values, fault],
    stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    start_new_session=True,
  )  # fmt: skip


def _run(*args, timeout=120, **kwargs):
  process = _start(*args, **kwargs)
  try:
    out, err = process.communicate(timeout=timeout)
  finally:
    process.kill()
  return process.returncode, out, err


def _rows(workdir, label):
  if not (workdir / f'logs/{label}.csv').exists():
    return []
  with open(workdir / f'logs/{label}.csv', encoding='utf-8') as file:
    return list(csv.DictReader(file))


def _steps(workdir, label, key='actor_steps'):
  return [int(row[key]) for row in _rows(workdir, label)]


def _wait_for(condition, timeout=90, running=()):
  deadline = time.time() + timeout
  while not condition():
    for process in running:
      assert process.poll() is None, process.stderr.read()
    assert time.time() < deadline
    time.sleep(0.05)


@pytest.fixture(scope='module', name='whole')
def whole_run(program, tmp_path_factory):
  workdir = tmp_path_factory.mktemp('whole') / 'w'
  status, out, err = _run(program, workdir)
  assert status == 0, err
  return workdir, out, err


def test_a_whole_run_keeps_three_cuts_and_is_quiet(whole):
  workdir, _, err = whole
  assert not err
  assert [p.name for p in checkpointing_cuts(workdir)] == sorted(
    p.name for p in checkpointing_cuts(workdir)
  )
  assert len(checkpointing_cuts(workdir)) == checkpointing.MAX_TO_KEEP
  assert not list(workdir.rglob('*.pkl'))
  assert not list((workdir / 'checkpoints' / 'replay').iterdir())


def checkpointing_cuts(workdir):
  return sorted(p for p in (workdir / 'checkpoints').iterdir() if p.name.isdigit())


# 1. Kill -9.


def test_killed_again_and_again_it_comes_to_the_end_of_a_run_that_was_not(
  program, tmp_path, whole
):
  workdir = tmp_path / 'w'
  for wait in (150, 600):
    process = _start(program, workdir)
    _wait_for(
      lambda wait=wait: (
        (workdir / 'logs/actor.csv').exists()
        and any(step >= wait for step in _steps(workdir, 'actor'))
      )
    )
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
  status, out, err = _run(program, workdir)
  assert status == 0, err
  assert 'resuming at step' in out
  assert not err
  for label in ('actor', 'evaluator'):
    assert _steps(workdir, label) == _steps(whole[0], label)
  learner_steps = _steps(workdir, 'learner', 'learner_steps')
  assert learner_steps == list(range(10, learner_steps[-1] + 1, 10))
  # An update every 8 / 2 steps after 50: 287, a row every ten.
  assert learner_steps[-1] == 280
  cut = checkpointing.newest(str(workdir))
  assert cut.counts['actor_steps'] == 1200


def test_replay_comes_back_under_todays_size_and_ratio(program, tmp_path, whole):
  workdir = tmp_path / 'w'
  shutil.copytree(whole[0], workdir)
  cut = checkpointing.newest(str(workdir))
  import reverb

  def serve(max_size, limiter):
    table = reverb.Table(
      'priority_table', reverb.selectors.Uniform(), reverb.selectors.Fifo(), max_size,
      limiter,
    )  # fmt: skip
    checkpointer = checkpointing.replay_checkpointer(str(workdir), cut, [table])
    server = reverb.Server([table], checkpointer=checkpointer)
    info = reverb.Client(f'localhost:{server.port}').server_info()['priority_table']
    server.stop()
    return info

  every = serve(10_000, reverb.rate_limiters.MinSize(1))
  # 24 episodes of 50 steps, each with 4 shorter returns at its end.
  assert every.current_size == 24 * 54
  fewer = serve(100, reverb.rate_limiters.SampleToInsertRatio(4.0, 20, 90.0))
  assert (fewer.current_size, fewer.max_size) == (100, 100)
  limiter = fewer.rate_limiter_info
  assert (limiter.samples_per_insert, limiter.min_size_to_sample) == (4.0, 20)
  # The cut itself is as it was.
  assert checkpointing.newest(str(workdir)).path == cut.path


# 2. Ctrl-C and SIGTERM.


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_ends_within_seconds(program, tmp_path, number):
  workdir = tmp_path / 'w'
  process = _start(program, workdir, checkpoint_every=1000.0, eval_every=10_000)
  _wait_for(lambda: len(_steps(workdir, 'actor')) > 1)
  start = time.time()
  process.send_signal(number)
  out, err = process.communicate(timeout=60)
  assert process.returncode == 130, err
  assert time.time() - start < 15
  assert 'interrupted: saving' in out
  assert checkpointing.newest(str(workdir)).counts['actor_steps'] >= 100


BLOCKED = """
import sys, time
from acme_dsdpg import interrupts
interrupts.GRACE = float(sys.argv[1])
with interrupts.handled():
  print('ready', flush=True)
  time.sleep(60)  # No safe point, as in a compiler.
"""


@pytest.mark.parametrize(
  ('grace', 'signals', 'text'), [(1.0, 1, 'nothing could be saved'), (30.0, 2, 'again')]
)
def test_where_no_safe_point_is_near_the_process_ends_all_the_same(grace, signals, text):
  process = subprocess.Popen(
    [sys.executable, '-c', BLOCKED, str(grace)], cwd=ROOT, text=True,
    stdout=subprocess.PIPE, stderr=subprocess.PIPE,
  )  # fmt: skip
  process.stdout.readline()
  start = time.time()
  for _ in range(signals):
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
  out, _ = process.communicate(timeout=20)
  assert process.returncode == 130
  assert text in out
  assert time.time() - start < 5


def test_a_signal_is_noticed_at_a_safe_point_once():
  with interrupts.handled():
    interrupts.check()
    os.kill(os.getpid(), signal.SIGTERM)
    _wait_for(interrupts._requested.is_set, 5)
    with pytest.raises(KeyboardInterrupt):
      interrupts.check()
    interrupts.check()  # While it saves.


# 3. Damaged and foreign checkpoints.


def _damage(name):
  def damage(cut):
    with open(next(cut.glob(name)), 'r+b') as file:
      file.truncate(os.path.getsize(file.name) // 2)

  return damage


def _flip(cut):
  with open(next(cut.glob('learner.data*')), 'r+b') as file:
    file.seek(100)
    byte = file.read(1)
    file.seek(100)
    file.write(bytes([byte[0] ^ 1]))


@pytest.mark.parametrize(
  'damage',
  [
    _damage('learner.data*'),
    _damage('manifest.json'),
    _damage('replay/chunks.tfrecord'),
    lambda cut: (cut / 'manifest.json').unlink(),
    lambda cut: (cut / 'replay/DONE').unlink(),
    lambda cut: (cut / 'manifest.json').write_text('[]'),
    _flip,
  ],
)
def test_a_damaged_cut_is_left_aside_loudly(tmp_path, whole, damage, capfd):
  workdir = tmp_path / 'w'
  shutil.copytree(whole[0], workdir)
  *_, before, last = checkpointing_cuts(workdir)
  damage(last)
  assert checkpointing.newest(str(workdir)).path == str(before)
  assert f'WARNING: checkpoint {last} is damaged' in capfd.readouterr().err


def test_a_run_goes_on_from_the_cut_before_a_damaged_one(program, tmp_path, whole):
  workdir = tmp_path / 'w'
  shutil.copytree(whole[0], workdir)
  _damage('learner.data*')(checkpointing_cuts(workdir)[-1])
  status, out, err = _run(program, workdir)
  assert status == 0
  assert 'is damaged and left aside' in err
  assert 'resuming at step' in out
  assert _steps(workdir, 'evaluator') == _steps(whole[0], 'evaluator')


def test_another_runs_checkpoint_is_refused_with_the_differences(
  program, tmp_path, whole
):
  workdir = tmp_path / 'w'
  workdir.mkdir()
  other = config_lib.make_config({**TINY, 'hidden_sizes': (9, 8), 'sigma': 0.1})
  (workdir / 'config.json').write_text(other.to_json())
  shutil.copytree(whole[0] / 'checkpoints', workdir / 'checkpoints')
  status, _, err = _run(program, workdir, hidden_sizes=(9, 8), sigma=0.1)
  assert status == 2
  assert 'hidden_sizes was [8, 8], is [9, 8]' in err
  assert 'sigma was 0.3, is 0.1' in err


def test_other_shapes_are_refused_even_under_the_same_config(tmp_path, whole):
  cut = checkpointing.newest(str(whole[0]))
  config = config_lib.make_config(TINY)
  variable = tf.Variable(tf.zeros([3]), name='v')
  checkpointer = checkpointing.Checkpointer(str(tmp_path), config, {'critic': variable})
  with pytest.raises(config_lib.ConfigError, match='other networks: .* was .*, is '):
    checkpointer.restore(cut)


def test_rows_after_the_cut_are_dropped(tmp_path):
  (tmp_path / 'logs').mkdir()
  path = tmp_path / 'logs/actor.csv'
  path.write_text('actor_steps,x\n10,1\n20,2\n30,3\n4')
  logging.truncate(str(tmp_path), {'actor_steps': 20})
  assert path.read_text() == 'actor_steps,x\n10,1\n20,2\n'
  logging.truncate(str(tmp_path), None)
  assert not path.read_text()


# 4. A full disk.


def test_a_full_disk_is_a_warning_and_the_old_checkpoint_stays(program, tmp_path):
  disk = tmp_path / 'disk'
  disk.mkdir()
  script = (
    f'mount -t tmpfs -o size=2m tmpfs {disk} && '
    f'"$@" && ls {disk}/w/checkpoints && du -sk {disk}'
  )
  prefix = ['unshare', '-r', '-m', 'sh', '-c', script, 'sh']
  # A replay buffer that outgrows the disk.
  status, out, err = _run(
    program, disk / 'w', prefix=prefix, hidden_sizes=(128, 128), num_steps=600
  )
  assert status == 0, err
  assert 'WARNING: no checkpoint was saved, training goes on' in out
  assert 'evaluation at step 400' in out
  names = out.split('done')[-1].split()
  assert any(name.isdigit() and len(name) == 6 for name in names)
  assert 'unfinished' not in names


# 6. Environments that fail.


@pytest.mark.parametrize(
  ('fault', 'text'),
  [
    ('raise', 'step raised RuntimeError: physics diverged'),
    ('nan', 'step returned observation='),
    ('inf', 'step returned reward=inf'),
    ('hang', 'step took longer than 2 s'),
  ],
)
def test_a_failing_environment_costs_an_episode(program, tmp_path, fault, text):
  workdir = tmp_path / 'w'
  status, out, err = _run(
    program, workdir, fault, environment_timeout=2.0, num_steps=400, eval_every=1000
  )
  assert status == 0, err
  assert f'episode dropped, environment made anew: {text}' in out
  assert _steps(workdir, 'actor') == list(range(50, 401, 50))
  faults = _steps(workdir, 'actor', 'actor_environment_faults')
  assert faults == sorted(faults)
  assert faults[-1] == 1
  assert all(np.isfinite(float(v)) for r in _rows(workdir, 'learner') for v in r.values())


def test_one_that_always_fails_ends_the_run_with_the_cause(program, tmp_path):
  status, out, err = _run(program, tmp_path / 'w', 'always', max_environment_faults=3)
  assert status == 1
  assert out.count('episode dropped') == 3
  assert err.strip() == (
    'failed: The environment failed 3 times in a row; the last time: '
    'step raised RuntimeError: physics diverged.'
  )
  assert checkpointing.newest(str(tmp_path / 'w')).counts['actor_steps'] == 150


def test_episodes_shorter_than_n_steps_are_learned_from(program, tmp_path):
  status, _, err = _run(program, tmp_path / 'w', 'short', num_steps=200, eval_every=1000)
  assert status == 0, err
  assert _steps(tmp_path / 'w', 'learner', 'learner_steps')[-1] >= 30


class _Environment(dm_env.Environment):
  def __init__(self, timestep):
    self._timestep = timestep

  def reset(self):
    return self._timestep

  def step(self, action):
    return self._timestep

  def observation_spec(self):
    return specs.Array([2], np.float32)

  def action_spec(self):
    return specs.BoundedArray([1], np.float32, -1.0, 1.0)


def _guard(timestep):
  return guarding.GuardedEnvironment(lambda number: _Environment(timestep), 5.0)


def test_an_episode_of_no_steps_is_a_fault():
  with pytest.raises(guarding.EnvironmentFaultError, match='no steps'):
    _guard(dm_env.termination(1.0, np.ones(2))).reset()


@pytest.mark.parametrize(
  'timestep',
  [
    dm_env.transition(np.nan, np.ones(2)),
    dm_env.transition(1.0, np.array([0.0, np.inf])),
    dm_env.transition(1.0, np.ones(2), discount=np.nan),
  ],
)
def test_nothing_that_is_not_finite_leaves_the_guard(timestep):
  with pytest.raises(guarding.EnvironmentFaultError, match='returned'):
    _guard(timestep).step(np.zeros(1))


def test_an_action_that_is_not_finite_ends_the_run():
  with pytest.raises(guarding.RunFailedError, match='action'):
    _guard(dm_env.transition(1.0, np.ones(2))).step(np.array([np.nan]))


def test_a_thread_that_hangs_is_left_behind():
  release = threading.Event()
  worker = guarding._Worker()
  start = time.time()
  with pytest.raises(guarding.queue.Empty):
    worker.call(release.wait, (), 0.2)
  assert time.time() - start < 2
  release.set()


# 7. NaN in the learner: see test_learning.py for single updates.


def test_a_learner_that_diverges_ends_the_run_and_keeps_the_batch(program, tmp_path):
  workdir = tmp_path / 'w'
  status, _, err = _run(
    program, workdir, critic_learning_rate=1e30, max_skipped_updates=5,
    checkpoint_every=1000.0,
  )  # fmt: skip
  assert status == 1
  assert '5 updates in a row met losses or gradients that are not finite' in err
  assert len(err.strip().splitlines()) == 1
  with np.load(workdir / 'offending_batch.npz') as batch:
    assert batch['observation'].shape == (8, 3)
    assert all(np.all(np.isfinite(batch[name])) for name in batch.files)
  assert checkpointing.newest(str(workdir)).counts['learner_steps'] == 0


# 5, 8. Distributed.


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


def test_a_killed_actor_is_replaced_and_two_runs_do_not_meet(program, tmp_path):
  runs = [
    _start(program, tmp_path / name, 'slow', checkpoint_every=3.0, **DISTRIBUTED)
    for name in 'ab'
  ]
  first, second = map(_tail, runs)
  begun = lambda lines: any(line.startswith('step ') for line in lines)
  _wait_for(lambda: begun(first) and begun(second), 240, runs)
  killed = _nodes(runs[0])['actor/1']
  killed.kill()
  _wait_for(lambda: any('actor/1 was killed by SIGKILL' in x for x in first), 10, runs)
  _wait_for(lambda: _nodes(runs[0]).get('actor/1', killed).pid != killed.pid, 10)
  rows = len(_rows(tmp_path / 'a', 'actor_1')) if (
    tmp_path / 'a/logs/actor_1.csv'
  ).exists() else 0  # fmt: skip
  _wait_for(
    lambda: (
      (tmp_path / 'a/logs/actor_1.csv').exists()
      and len(_rows(tmp_path / 'a', 'actor_1')) > rows + 1
    ),
    120,
  )
  # Killed all together, one run leaves the other alone, and no process.
  nodes = _nodes(runs[0])
  runs[0].kill()
  _wait_for(lambda: not any(node.is_running() for node in nodes.values()), 10)
  assert runs[1].poll() is None
  steps = sum(len(_rows(tmp_path / 'b', f'actor_{i}')) for i in range(2))
  _wait_for(
    lambda: sum(len(_rows(tmp_path / 'b', f'actor_{i}')) for i in range(2)) > steps, 60
  )
  # The learner killed: the run ends and names it.
  start = time.time()
  _nodes(runs[1])['learner/0'].kill()
  assert runs[1].wait(30) == 1
  assert time.time() - start < 10
  assert 'learner/0 was killed by SIGKILL' in runs[1].stderr.read()
  # The counts that were saved only go on.
  saved = checkpointing.newest(str(tmp_path / 'a'))
  assert saved is not None
  assert saved.counts['actor_steps'] > 0


def test_starvation_is_said(program, tmp_path):
  process = _start(
    program, tmp_path / 'w', 'stall', starvation_timeout=2.0, environment_timeout=600.0,
    min_replay_size=2000, **DISTRIBUTED,
  )  # fmt: skip
  lines = _tail(process)
  try:
    _wait_for(lambda: any('the learner has waited' in line for line in lines), 120)
  finally:
    process.terminate()
    process.wait(60)


# 9. Bad values, each through the launcher, which is imported once and forked.

MISTAKES = [
  ('--env=walke', 'walker'),
  ('--env=', 'env'),
  ('--env=walker --task=fly', 'stand, walk, run'),
  ('--env=cheetah --task=walk', 'run'),
  ('--agent=dspdg', 'dsdpg'),
  ('--num_smaples=3', 'num_samples'),
  ('--sed=3', 'seed'),
  ('walker', 'flags start with --'),
  ('--num_samples=many', 'num_samples'),
  ('--num_samples=0', 'greater than 0'),
  ('--num_samples=-3', 'greater than 0'),
  ('--num_samples=2.5', 'num_samples'),
  ('--policy_num_samples=0', 'greater than 0'),
  ('--noise_dim=0', 'greater than 0'),
  ('--n_step=0', 'greater than 0'),
  ('--batch_size=-1', 'greater than 0'),
  ('--batch_size=2000', 'min_replay_size=1000'),
  ('--min_replay_size=10 --max_replay_size=5', 'max_replay_size=5'),
  ('--max_replay_size=-5', 'greater than 0'),
  ('--samples_per_insert=-1', 'greater than 0'),
  ('--samples_per_insert=0', 'greater than 0'),
  ('--samples_per_insert_tolerance_rate=0', 'greater than 0'),
  ('--discount=1.5', '(0, 1]'),
  ('--discount=0', '(0, 1]'),
  ('--discount=nan', 'finite'),
  ('--sigma=-0.1', '0 or greater'),
  ('--sigma=inf', 'finite'),
  ('--target_update_rate=2', '(0, 1]'),
  ('--critic_learning_rate=0', 'greater than 0'),
  ('--policy_learning_rate=-1', 'greater than 0'),
  ('--world_model_learning_rate=nan', 'finite'),
  ('--kl_weight=-1', '0 or greater'),
  ('--hidden_sizes=256,x', 'ints'),
  ('--hidden_sizes=', 'hidden_sizes'),
  ('--hidden_sizes=256,-1', 'greater than 0'),
  ('--rbf_bandwidths=0,1', 'greater than 0'),
  ('--kernel=gauss', 'rbf'),
  ('--multiquadric_h=0', 'greater than 0'),
  ('--critic=points', 'samples, point'),
  ('--sobolev=state', 'state_action'),
  ('--agent=dsdpg --targets=observed', 'reconstructed'),
  ('--agent=ddpg --targets=anchored', 'observed or reconstructed'),
  ('--unbiased_mmd --num_samples=1', '2 or more'),
  ('--unbiased_mmd=perhaps', 'unbiased_mmd'),
  ('--seed=-1', '0 or greater'),
  ('--num_steps=0', 'greater than 0'),
  ('--eval_every=0', 'greater than 0'),
  ('--eval_episodes=0', 'greater than 0'),
  ('--checkpoint_every=0', 'greater than 0'),
  ('--environment_timeout=0', 'greater than 0'),
  ('--max_skipped_updates=0', 'greater than 0'),
  ('--starvation_timeout=-1', 'greater than 0'),
  ('--num_threads=-1', '0 or greater'),
  ('--run_distributed --num_actors=0', 'greater than 0'),
  ('--run_distributed --agent=d4pg', 'one process only'),
  ('--agent=d4pg --num_samples=3', 'num_samples'),
  ('--workdir=/proc/nothing', 'cannot be written'),
  ('--workdir=file', 'not a directory'),
  ('--workdir=full', 'not a run directory'),
  ('--replay_table_name=', 'a name'),
]
MAKE_MISTAKES = """
import json, os, sys
from acme_dsdpg import command_line
from launchers import run_dsdpg
command_line.define_flags()
results = []
for name in ('experiment', 'distributed'):  # Not to be reached.
  sys.modules[f'acme_dsdpg.{name}'] = None
for line in json.loads(sys.argv[1]):
  read, write = os.pipe()
  if not os.fork():
    os.dup2(write, 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.argv = ['run_dsdpg.py', *line.split()]
    try:
      command_line.run(run_dsdpg.main)
    except SystemExit as e:
      os._exit(e.code)
    os._exit(0)
  os.close(write)
  with os.fdopen(read) as file:
    err = file.read()
  results.append([os.waitstatus_to_exitcode(os.wait()[1]), err])
assert 'tensorflow' not in sys.modules
print(json.dumps(results))
"""


def test_a_mistake_is_one_sentence_and_status_2_before_anything_starts(tmp_path):
  (tmp_path / 'file').touch()
  (tmp_path / 'full').mkdir()
  (tmp_path / 'full/something').touch()
  lines = json.dumps([line for line, _ in MISTAKES])
  done = subprocess.run(
    [sys.executable, '-c', MAKE_MISTAKES, lines], cwd=tmp_path, text=True, timeout=120,
    env={**os.environ, 'PYTHONPATH': str(ROOT)}, capture_output=True, check=True,
  )  # fmt: skip
  wrong = []
  for (line, text), (status, err) in zip(MISTAKES, json.loads(done.stdout)):
    if status != 2 or text not in err or len(err.strip().splitlines()) != 1:
      wrong.append((line, status, err))
  assert not wrong
  assert sorted(p.name for p in tmp_path.iterdir()) == ['file', 'full']


# Safety.

LISTENING = """
import sys
from acme_dsdpg import isolation
warning = isolation.confine()
import os, socket, subprocess
import reverb
server = reverb.Server([reverb.Table.queue('q', 10)])
print(warning, server.port, os.getpid(), flush=True)
alive = reverb.Client(f'localhost:{server.port}').server_info()
print(sorted(alive), flush=True)
sys.stdin.readline()
"""


def _addresses():
  return {
    address.address
    for interface in psutil.net_if_addrs().values()
    for address in interface
    if address.family.name == 'AF_INET'
  }


def _answers(address, port):
  import socket

  with socket.socket() as s:
    s.settimeout(2)
    return s.connect_ex((address, port)) == 0


@pytest.mark.parametrize('confined', [True, False])
def test_the_ports_of_a_run_do_not_answer_on_any_address(confined):
  text = LISTENING if confined else LISTENING.replace('isolation.confine()', 'None')
  process = subprocess.Popen(
    [sys.executable, '-c', text], cwd=ROOT, text=True, stdin=subprocess.PIPE,
    stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
  )  # fmt: skip
  try:
    *warning, port, _ = process.stdout.readline().split()
    if confined and warning != ['None']:
      pytest.skip('the kernel lets no ordinary user make a network namespace')
    assert 'q' in process.stdout.readline()  # It serves those inside.
    answers = {address: _answers(address, int(port)) for address in _addresses()}
    assert answers
    assert any(answers.values()) != confined, answers
  finally:
    process.communicate('\n', timeout=30)
