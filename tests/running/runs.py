"""Runs of `faulty_program.py`, and what their files say."""

import contextlib
import csv
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import psutil

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = pathlib.Path(__file__).with_name('faulty_program.py')
TINY = dict(
  agent='ddpg', hidden_sizes=(8, 8), batch_size=8, min_replay_size=50,
  samples_per_insert=2.0, jit_compile=False, eval_every=400, eval_episodes=1,
  log_every=10, num_threads=1, num_steps=1200, checkpoint_every=1.0,
)  # fmt: skip


_started = []


def start(workdir, fault='none', prefix=(), **values):
  environment = {k: v for k, v in os.environ.items() if k != 'TF_CPP_MIN_LOG_LEVEL'}
  environment['PYTHONPATH'] = str(ROOT)
  values = json.dumps({**TINY, **values})
  process = subprocess.Popen(
    [*prefix, sys.executable, str(PROGRAM), str(workdir), values, fault],
    stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    start_new_session=True,
  )  # fmt: skip
  _started.append(process)
  return process


def end_all():
  """Whatever a failing test leaves is ended."""
  while _started:
    process = _started.pop()
    with contextlib.suppress(ProcessLookupError):
      os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def nodes(process):
  """Name to process of a launcher's nodes, by the files that they log to."""
  result = {}
  for child in psutil.Process(process.pid).children(recursive=True):
    try:
      path = pathlib.Path(os.readlink(f'/proc/{child.pid}/fd/1'))
    except OSError:  # It has just ended.
      continue
    if path.parent.parent.name == 'launchpad':
      result['/'.join(path.parts[-2:])] = child
  return result


def alive(processes):
  """Those that run: nobody may have reaped the dead ones yet."""

  def runs(process):
    try:
      return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
      return False

  return [process for process in processes if runs(process)]


def run(*args, timeout=120, **kwargs):
  process = start(*args, **kwargs)
  try:
    out, err = process.communicate(timeout=timeout)
  finally:
    process.kill()
  return process.returncode, out, err


def rows(workdir, label):
  if not (workdir / f'logs/{label}.csv').exists():
    return []
  with open(workdir / f'logs/{label}.csv', encoding='utf-8') as file:
    return list(csv.DictReader(file))


def steps(workdir, label, key='actor_steps'):
  return [int(row[key]) for row in rows(workdir, label)]


def updates_due(steps):
  """Learner steps after so many environment steps of a TINY run in one process."""
  ratio = TINY['samples_per_insert'] / TINY['batch_size']
  return max(0, int((steps - TINY['min_replay_size']) * ratio))


def wait_for(condition, timeout=90, running=(), interval=0.05):
  deadline = time.time() + timeout
  while not condition():
    for process in running:
      assert process.poll() is None, process.stderr.read()
    assert time.time() < deadline
    time.sleep(interval)


def cuts(workdir):
  """Paths of the checkpoints, oldest first."""
  return sorted((workdir / 'checkpoints').glob('[0-9]' * 6))
