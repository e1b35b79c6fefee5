"""Runs of `faulty_program`, in this process or one of their own, and what they leave."""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

import psutil

from acme_dsdpg import config as config_lib
from acme_dsdpg.agent import presets
from acme_dsdpg.running import log_files

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = pathlib.Path(__file__).with_name('faulty_program.py')
# Seconds until a test gives up: ten times what an idle machine needs.
LIMIT = 600.0
TINY = dict(
  agent='ddpg', hidden_sizes=(8, 8), batch_size=8, min_replay_size=50,
  samples_per_insert=2.0, jit_compile=False, eval_every=200, eval_episodes=1,
  log_every=10, num_steps=600, checkpoint_every=1000.0,
)  # fmt: skip

# What a user behind a firewall has set; nobody answers there.
PROXIES = {
  name: 'http://127.0.0.1:9'
  for name in ('http_proxy', 'https_proxy', 'grpc_proxy', 'HTTP_PROXY', 'ALL_PROXY')
}

_started = []


class Program:
  """A program that has been started; what it has printed can be read at any time."""

  def __init__(self, command, **kwargs):
    self._files = [tempfile.TemporaryFile() for _ in range(2)]
    out, err = self._files
    env = {**os.environ, 'PYTHONPATH': str(ROOT), **kwargs.pop('env', {})}
    env.pop('TF_CPP_MIN_LOG_LEVEL', None)  # Of the tests' own set-up.
    self.process = subprocess.Popen(
      [str(part) for part in command],
      **{'cwd': ROOT, 'env': env, 'stdout': out, 'stderr': err, **kwargs},
      start_new_session=True,
    )
    _started.append(self)

  @property
  def out(self):
    return self._read(0)

  @property
  def err(self):
    return self._read(1)

  def _read(self, number):
    file = self._files[number].fileno()
    return os.pread(file, os.fstat(file).st_size, 0).decode()

  def wait(self):
    """Returns the exit status."""
    return self.process.wait(LIMIT)

  def wait_for(self, condition, interval=0.02):
    """Waits until the condition holds, which it has to while the program runs."""

    def holds():
      ended = self.process.poll() is not None
      fulfilled = condition()
      assert fulfilled or not ended, f'{self.out}\n{self.err}'
      return fulfilled

    wait_for(holds, interval)

  def send(self, number):
    """Sends a signal."""
    self.process.send_signal(number)

  def kill_all(self):
    """Kills it, and whatever it has started and left in its session."""
    with contextlib.suppress(ProcessLookupError):
      os.killpg(self.process.pid, signal.SIGKILL)
    self.process.wait()


def python(*arguments, **kwargs):
  """Starts Python."""
  return Program([sys.executable, *arguments], **kwargs)


def launcher(name, *arguments, **kwargs):
  """Starts a launcher."""
  return python(ROOT / 'launchers' / name, *arguments, **kwargs)


def call(name, lines, arguments='', cwd=ROOT):
  """Calls a launcher once for each line.

  Returns:
    Exit status, stdout and stderr of each, and whether any imported TensorFlow.
  """
  calls = PROGRAM.with_name('launcher_calls.py')
  program = python(calls, name, arguments, json.dumps(lines), cwd=cwd)
  assert program.wait() == 0, program.err
  return json.loads(program.out)


def start(workdir, faults='none', prefix=(), **values):
  """Starts `faulty_program`."""
  values = json.dumps({**TINY, 'num_threads': 1, **values})
  return Program([*prefix, sys.executable, PROGRAM, workdir, values, faults])


def run_here(workdir, faults='none', only=TINY, **values):
  """Does in this process what `faulty_program` does in its own."""
  # TensorFlow, for those who call it.
  from acme_dsdpg.running import run_directory, single_process
  from tests.running import faulty_program

  config = presets.make_config({**only, **values})
  run_directory.prepare(str(workdir), config, fresh=False)
  single_process.run(config, str(workdir), faulty_program.Factory(faults))


def end_all():
  """Ends whatever a failing test leaves."""
  while _started:
    _started.pop().kill_all()


def nodes(program):
  """Name to process of a launcher's nodes, by the files that they log to."""
  result = {}
  for child in psutil.Process(program.process.pid).children(recursive=True):
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


def rows(workdir, label):
  """The whole rows of a log; none before there is one."""
  path = pathlib.Path(workdir) / f'logs/{label}.csv'
  return log_files.read(str(path)) if path.exists() else []


def steps(workdir, label, key='actor_steps'):
  """A column of counts."""
  return [int(row[key]) for row in rows(workdir, label)]


def updates_due(steps):
  """Learner steps after so many environment steps of a TINY run in one process."""
  ratio = TINY['samples_per_insert'] / TINY['batch_size']
  due = max(0, int((steps - TINY['min_replay_size']) * ratio))
  return due - due % config_lib.UPDATES_PER_CALL  # A call takes as many.


def wait_for(condition, interval=0.02):
  """Returns as soon as the condition holds."""
  deadline = time.monotonic() + LIMIT
  while not condition():
    assert time.monotonic() < deadline
    time.sleep(interval)


def checkpoints(workdir):
  """Paths of the checkpoints, oldest first."""
  return sorted((pathlib.Path(workdir) / 'checkpoints').glob('[0-9]' * 6))
