"""A run as Launchpad processes on this machine: same builder, config and directory.

    replay  counter  learner  evaluator  actor x num_actors  stopper

Warning: Courier and Reverb listen on every network interface without
authentication, and Courier executes what it unpickles. Whoever reaches their ports
can run code as you: on a shared network, run behind a firewall or in a network
namespace of its own.

The launcher starts the processes and watches them. The stopper's end is the run's:
it returns after the last evaluation, and any other process that ends before is a
failure. (Acme's `StepsLimiter` looks every 10 s and signals the launcher to stop,
which a user's signal could not be told from, before anything final has happened.)
"""

import atexit
import contextlib
import csv
import dataclasses
import functools
import glob
import io
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional

from acme import specs
from acme.utils import counting
import launchpad as lp
from launchpad.launch.run_locally import launch_local_output_to_files as output_to_files
from launchpad.nodes.python import local_multi_processing

from acme_dsdpg import config as config_lib
from acme_dsdpg import environments
from acme_dsdpg import processes as processes_lib

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# Seconds that the learner is given to finish a step and save, even on a busy machine.
_GRACE = 120.0

Processes = Mapping[str, subprocess.Popen]


def make_program(
  config: config_lib.ExperimentConfig,
  workdir: str,
  environment_factory: environments.EnvironmentFactory,
) -> lp.Program:
  """The nodes and who talks to whom.

  Args:
    config: the run.
    workdir: its directory, prepared by `run_directory.prepare`.
    environment_factory: seed to wrapped environment; picklable.
  """
  # Not at the top: counter and stopper import this file, and need no TensorFlow.
  from acme_dsdpg import nodes

  spec = specs.make_environment_spec(environment_factory(config.seed))
  run = nodes.Run(config, workdir, environment_factory, spec)
  # With all threads for each of them, the acting processes would only get in the way.
  acting = dataclasses.replace(config, num_threads=config.num_threads or 1)
  acting_run = dataclasses.replace(run, config=acting)

  program = lp.Program('dsdpg')
  add = lambda label, node: program.add_node(node, label)
  replay = add(
    'replay', lp.ReverbNode(functools.partial(_Node(nodes.make_replay_tables), run))
  )
  counter = add('counter', lp.CourierNode(_Node(counting.Counter)))
  learner = add('learner', lp.CourierNode(_Node(nodes.LearnerNode), run, replay, counter))
  evaluator = add(
    'evaluator',
    lp.CourierNode(_Node(nodes.EvaluatorNode), acting_run, learner, counter),
  )
  for index in range(config.num_actors):
    handles = (replay, learner, evaluator, counter)
    add('actor', lp.PyNode(_Node(nodes.run_actor), acting_run, index, *handles))
  add(
    'stopper', lp.PyNode(_Node(_stopper), config.num_steps, counter, learner, evaluator)
  )
  return program


def launch(
  config: config_lib.ExperimentConfig,
  workdir: str,
  environment_factory: environments.EnvironmentFactory,
) -> int:
  """Runs the program to its end and leaves no process behind.

  Args:
    config: the run.
    workdir: its directory, prepared by `run_directory.prepare`.
    environment_factory: seed to wrapped environment; picklable.

  Returns:
    The exit status: 0 at `num_steps`, 1 if a process died (the cause is printed),
    130 when interrupted by SIGINT or SIGTERM. Learner, counts and policy are saved
    in each case, unless it was the learner, the counter or the replay that died.
  """
  workdir = os.path.abspath(workdir)
  progress = _Progress(config, workdir)
  with _interrupts() as interrupts, _temporary_directory(workdir):
    program = make_program(config, workdir, environment_factory)
    processes = _start(program, workdir, interrupts)
    try:
      failure = _watch(processes, workdir, progress, interrupts)
      if interrupts:
        progress.line('interrupted: saving; the same command goes on from here')
    finally:
      _stop(processes, interrupts)
  # Interrupted before the learner had anything to save, it died of SIGTERM.
  status = processes['learner/0'].returncode
  if not failure and status not in (0, -signal.SIGTERM):
    failure = _cause('learner/0', status, workdir)
  progress.show()
  progress.close()
  if failure:
    print(f'failed: {failure}', file=sys.stderr, flush=True)
  return 130 if interrupts else int(bool(failure))


@dataclasses.dataclass(frozen=True)
class _Node:
  """Calls a node's function or constructor in a process fit for being supervised."""

  function: Callable[..., Any]
  launcher: int = dataclasses.field(default_factory=os.getpid)

  def __call__(self, *args: Any, **kwargs: Any) -> Any:
    # Ctrl-C reaches every process of a terminal, but stopping is up to the launcher.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # At once, even inside a blocking call, where Launchpad's handler is not run.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    processes_lib.die_with_parent(self.launcher)
    sys.excepthook = _die
    return self.function(*args, **kwargs)


def _die(kind, value, trace):
  """Ends the process: a regular exit may wait forever for calls to dead processes."""
  traceback.print_exception(kind, value, trace)
  # The launcher quotes the last line.
  message = ' '.join(traceback.format_exception_only(kind, value)[-1].split())
  print(message[:500], file=sys.stderr, flush=True)
  os._exit(1)


def _stopper(num_steps: int, counter: Any, learner: Any, evaluator: Any):
  """Returns when `num_steps` are taken, learning is over and the result evaluated."""
  while counter.get_counts().get('actor_steps', 0) < num_steps:
    time.sleep(0.5)
  learner.finish()
  evaluator.finish()


@contextlib.contextmanager
def _interrupts() -> Iterator[List[int]]:
  """Within it SIGINT and SIGTERM are only noted down, in the list it gives."""
  interrupts = []
  previous = {signum: _note(signum, interrupts) for signum in _SIGNALS}
  try:
    yield interrupts
  finally:
    for signum, handler in previous.items():
      signal.signal(signum, handler)


def _note(signum: int, interrupts: List[int]) -> Any:
  return signal.signal(signum, lambda signum, _: interrupts.append(signum))


@contextlib.contextmanager
def _temporary_directory(workdir: str) -> Iterator[None]:
  """Where TensorFlow, Reverb and Launchpad leave files, this process's included."""
  path = os.path.join(workdir, 'tmp')
  shutil.rmtree(path, ignore_errors=True)  # Of a launcher that was killed.
  os.mkdir(path)
  tempfile.tempdir = path
  try:
    yield
  finally:
    tempfile.tempdir = None
    shutil.rmtree(path, ignore_errors=True)


def _start(program: lp.Program, workdir: str, interrupts: List[int]) -> Processes:
  """Starts the processes."""
  env = {
    'TMPDIR': tempfile.gettempdir(),
    # Nodes import TensorFlow within absl's app.run, where it would start in graph mode.
    'TF2_BEHAVIOR': '1',
  }
  no_gpu = {**env, 'CUDA_VISIBLE_DEVICES': ''}
  resources = {
    label: local_multi_processing.PythonProcess(env=env if label == 'learner' else no_gpu)
    for label in program.groups
  }
  # Its environment variable is read on import, which has long happened.
  output_to_files._LOGGING_DIR = _log_directory(workdir)
  with contextlib.redirect_stdout(io.StringIO()):  # A line for each file.
    manager = lp.launch(
      program, 'local_mp', local_resources=resources, terminal='output_to_files'
    )
  # Launchpad's own supervision does not tell which process failed.
  atexit.unregister(manager.wait)
  for signum in _SIGNALS:
    _note(signum, interrupts)
  return {name: process for name, (process,) in manager._active_workers.items()}


def _watch(
  processes: Processes, workdir: str, progress: '_Progress', interrupts: List[int]
) -> Optional[str]:
  """Waits for the end of the run or an interrupt; returns the cause of a failure."""
  while not interrupts:
    ended = {k: p.returncode for k, p in processes.items() if p.poll() is not None}
    if ended == {'stopper/0': 0}:
      return None
    if ended:
      # What was killed before what failed because of it.
      names = sorted(ended, key=ended.get)
      return '; '.join(_cause(name, ended[name], workdir) for name in names)
    progress.show()
    time.sleep(0.2)
  return None


def _cause(name: str, returncode: int, workdir: str) -> str:
  """Why a process ended, for a person."""
  path = os.path.join(_log_directory(workdir), name)
  if returncode < 0:
    what = f'was killed by {signal.Signals(-returncode).name}'
  else:
    with open(path, encoding='utf-8', errors='replace') as file:
      lines = [line.strip() for line in file if line.strip()] or ['no output']
    what = f'ended with exit status {returncode}: {lines[-1]}'
  return f'{name} {what} (log: {path})'


def _stop(processes: Processes, interrupts: List[int]):
  """Stops what runs: actors, so that nothing is counted after the learner has saved;
  then the learner, while the counter still answers; then the others.

  A second interrupt, as time running out, kills.
  """
  # The learner cannot save without the counter.
  grace = _GRACE if processes['counter/0'].poll() is None else 0.0
  num_interrupts = max(len(interrupts), 1)
  for group in ('actor/', 'learner/', ''):
    members = [p for name, p in processes.items() if name.startswith(group)]
    for process in members:
      process.terminate()
    deadline = time.time() + grace
    while any(p.poll() is None for p in members):
      if time.time() > deadline or len(interrupts) > num_interrupts:
        break
      time.sleep(0.1)
    for process in members:
      process.kill()
      process.wait()


def _log_directory(workdir: str) -> str:
  """Where the output of the processes goes, one file each."""
  return os.path.join(workdir, 'logs', 'launchpad')


class _Progress:
  """Shows the rows that actors and evaluator log."""

  def __init__(self, config: config_lib.ExperimentConfig, workdir: str):
    from acme_dsdpg import logging

    self._pattern = os.path.join(workdir, 'logs', '{}.csv')
    self._seen: Dict[str, int] = {}
    for _ in (*self._new_rows('actor_*'), *self._new_rows('evaluator')):
      pass  # An earlier run's.
    self._progress = logging.Progress(config.num_steps)
    self.line = self._progress.line
    self.close = self._progress.close

  def show(self):
    """Shows what is new."""
    for row in sorted(self._new_rows('actor_*'), key=lambda row: row['actor_steps']):
      # All actors' together, not one's.
      row['steps_per_second'] = row['actor_steps'] / max(row['train_seconds'], 1.0)
      self._progress.episode(row)
    for row in self._new_rows('evaluator'):
      self._progress.evaluation(row)

  def _new_rows(self, label: str) -> Iterator[Dict[str, Any]]:
    for path in sorted(glob.glob(self._pattern.format(label))):
      with open(path, encoding='utf-8') as file:
        rows = list(csv.DictReader(file))
      for row in rows[self._seen.get(path, 0) :]:
        yield {k: int(v) if v.isdigit() else float(v) for k, v in row.items()}
      self._seen[path] = len(rows)
