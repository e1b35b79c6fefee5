"""A run as Launchpad processes on this machine: same builder, config and directory.

    replay  counter  learner  evaluator  actor x num_actors  stopper

Nodes talk over loopback, with a key that the launcher makes and only they inherit. Reverb
listens on every interface without authentication: see `network_isolation`.

The launcher starts the processes and watches them. The stopper's end is the run's:
it returns after the last evaluation. An actor that is killed is replaced; any other
process that ends before is a failure. (Acme's `StepsLimiter` looks every 10 s and
signals the launcher to stop, which a user's signal could not be told from, before
anything final has happened.)
"""

import collections
import contextlib
import dataclasses
import functools
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from typing import Dict, Iterator, List, Optional

from acme import specs
from acme.utils import counting
import cloudpickle
import courier
import launchpad as lp
from launchpad.nodes.python import local_multi_processing

from acme_dsdpg import config as config_lib
from acme_dsdpg import environments, libraries, stand_ins
from acme_dsdpg.running import (
  checkpointing,
  environment_guard,
  errors,
  launchpad_processes,
  monitoring,
  nodes,
  notices,
  paths,
  run_directory,
  signals,
)
from acme_dsdpg.running import processes as processes_lib

# Seconds that the learner is given to finish a step and begin to save. (It may be
# compiling its first one, and then has nothing to save.)
_GRACE = 10.0
# An actor that dies as often in as many seconds is not replaced any more.
_MAX_DEATHS, _DEATHS_WITHIN = 5, 60.0

Processes = Dict[str, subprocess.Popen]


def make_program(
  config: config_lib.ExperimentConfig,
  workdir: str,
  environment_factory: environments.EnvironmentFactory,
  checkpoint: Optional[checkpointing.Checkpoint] = None,
) -> lp.Program:
  """Makes the program: its nodes and who talks to whom.

  Args:
    config: the run.
    workdir: its directory, prepared by `run_directory.prepare`.
    environment_factory: seed to wrapped environment; picklable.
    checkpoint: the checkpoint to go on from.
  """
  environment = environment_guard.GuardedEnvironment(
    lambda _: environment_factory(config.seed), config.limits.environment_timeout
  )
  with contextlib.closing(environment):
    spec = specs.make_environment_spec(environment)
  run = nodes.Run(config, workdir, environment_factory, spec, checkpoint)
  # With all threads for each of them, the acting processes would only get in the way.
  acting = dataclasses.replace(config, num_threads=config.num_threads or 1)
  acting_run = dataclasses.replace(run, config=acting)

  program = lp.Program('dsdpg')
  add = lambda label, node: program.add_node(node, label)
  replay = add(
    'replay',
    lp.ReverbNode(
      functools.partial(processes_lib.Node(nodes.make_replay_tables), run),
      functools.partial(nodes.make_replay_checkpointer, run),
    ),
  )
  counter = add('counter', lp.CourierNode(processes_lib.Node(counting.Counter)))
  learner = add(
    'learner', lp.CourierNode(processes_lib.Node(nodes.LearnerNode), run, replay, counter)
  )
  evaluator = add(
    'evaluator',
    lp.CourierNode(processes_lib.Node(nodes.EvaluatorNode), acting_run, learner, counter),
  )
  for index in range(config.num_actors):
    handles = (replay, learner, evaluator, counter)
    add(
      'actor', lp.PyNode(processes_lib.Node(nodes.run_actor), acting_run, index, *handles)
    )
  add(
    'stopper',
    lp.PyNode(
      processes_lib.Node(processes_lib.stop_at),
      config.num_steps,
      counter,
      learner,
      evaluator,
    ),
  )
  return program


def run(
  config: config_lib.ExperimentConfig,
  workdir: paths.Path,
  environment_factory: environments.EnvironmentFactory,
) -> None:
  """Runs the program to its end and leaves no process behind.

  Args:
    config: the run.
    workdir: its directory; see `run_directory.prepare`.
    environment_factory: seed to wrapped environment; picklable.

  Learner, counts, replay and policy are saved however it ends, unless it was the learner,
  the counter or the replay that died.

  Raises:
    RunFailedError: a process died, with the cause, or making an environment took too
      long.
    RunInterruptedError: SIGINT, SIGTERM or SIGHUP ended the run.
    ConfigError: the directory holds something else, or another run.
  """
  libraries.keep_off_proxies()
  with run_directory.of_run(workdir, config) as workdir:
    notices.warn_if_too_short(config)
    _run(config, workdir, environment_factory)


def _run(
  config: config_lib.ExperimentConfig,
  workdir: str,
  environment_factory: environments.EnvironmentFactory,
) -> None:
  checkpoint = checkpointing.start_from_newest(workdir, config)
  # Of an earlier start.
  shutil.rmtree(monitoring.log_directory(workdir), ignore_errors=True)
  progress = monitoring.Progress(config, workdir)
  with _working_directory_kept():
    program = make_program(config, workdir, environment_factory, checkpoint)
  interrupts = []
  note = lambda signum, _: interrupts.append(signum)
  with signals.handled_by(note), _temporary_directory(workdir), _key():
    processes = _start(program, workdir)
    try:
      (replay,) = program.groups['replay']
      starvation = monitoring.Starvation(
        replay.reverb_address.resolve(), config.limits.starvation_timeout
      )
      failure = _watch(processes, workdir, progress, interrupts, starvation)
      if interrupts:
        progress.line('interrupted: saving; the same command goes on from here')
    finally:
      _stop(processes, interrupts, workdir)
  # Interrupted before the learner had anything to save, it died of the signal.
  status = processes['learner/0'].returncode
  in_order = (0, *(-signum for signum in signals.answered()))
  if not failure and len(interrupts) < 2 and status not in in_order:
    failure = monitoring.cause('learner/0', status, workdir)
  progress.show()
  progress.close()
  if failure:
    raise errors.RunFailedError(failure)
  if interrupts:
    raise errors.RunInterruptedError


@contextlib.contextmanager
def _working_directory_kept() -> Iterator[None]:
  """Goes back: nodes begin where their launcher did, whatever its environment does."""
  before = os.open('.', os.O_RDONLY)
  try:
    yield
  finally:
    os.fchdir(before)
    os.close(before)


@contextlib.contextmanager
def _temporary_directory(workdir: str) -> Iterator[None]:
  """Makes a place for the files of TensorFlow, Reverb and Launchpad, and removes it."""
  path = os.path.join(workdir, 'tmp')
  paths.remove(path)  # Of a launcher that was killed.
  os.mkdir(path)
  tempfile.tempdir = path
  try:
    yield
  finally:
    tempfile.tempdir = None
    shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def _key() -> Iterator[None]:
  """Leaves a new key to the processes that are started meanwhile.

  Not in what Launchpad is told of their environment: it writes that to files.
  """
  os.environ[courier.KEY] = secrets.token_hex()
  try:
    yield
  finally:
    del os.environ[courier.KEY]


def _start(program: lp.Program, workdir: str) -> Processes:
  """Starts the processes; signals are handled as before."""
  # Runs before anything large is imported: none outlives a launcher killed meanwhile.
  first = os.path.join(tempfile.gettempdir(), 'first.pkl')
  with open(first, 'wb') as file:
    cloudpickle.dump(functools.partial(processes_lib.begin, os.getpid()), file)
  resources = {
    label: local_multi_processing.PythonProcess(
      args={'init_file': first}, env=_environment(label == 'learner')
    )
    for label in program.groups
  }
  handlers = {number: signal.getsignal(number) for number in signals.answered()}
  try:
    return launchpad_processes.start(
      program, resources, monitoring.log_directory(workdir)
    )
  finally:
    for number, handler in handlers.items():  # Launchpad has set its own.
      signal.signal(number, handler)


def _environment(learner: bool) -> Dict[str, str]:
  """The variables of a node's environment beside the launcher's."""
  env = {
    'TMPDIR': tempfile.gettempdir(),
    'PYTHONPATH': stand_ins.python_path(),
    # Nodes import TensorFlow within absl's app.run, where it would start in graph mode.
    'TF2_BEHAVIOR': '1',
  }
  return env if learner else {**env, 'CUDA_VISIBLE_DEVICES': ''}


def _watch(
  processes: Processes,
  workdir: str,
  progress: monitoring.Progress,
  interrupts: List[int],
  starvation: monitoring.Starvation,
) -> Optional[str]:
  """Waits for the end of the run or an interrupt; returns the cause of a failure."""
  deaths = collections.defaultdict(list)
  while not interrupts:
    ended = {k: p.returncode for k, p in processes.items() if p.poll() is not None}
    if ended.get('stopper/0') == 0:
      return None
    for name in [k for k, status in ended.items() if k.startswith('actor/')]:
      deaths[name] = [t for t in deaths[name] if time.time() - t < _DEATHS_WITHIN]
      deaths[name].append(time.time())
      if ended[name] < 0 and len(deaths[name]) < _MAX_DEATHS:
        progress.line(f'{monitoring.cause(name, ended.pop(name), workdir)}: replaced')
        processes[name] = _restart(processes[name], name, workdir)
    if ended:
      # What was killed before what failed because of it.
      names = sorted(ended, key=ended.get)
      return '\n'.join(monitoring.cause(name, ended[name], workdir) for name in names)
    progress.show()
    line = starvation.line()
    if line:
      progress.line(line)
    time.sleep(0.2)
  return None


def _restart(process: subprocess.Popen, name: str, workdir: str) -> subprocess.Popen:
  """Starts an actor like one that has ended, its output appended to the same log."""
  env = {**os.environ, **_environment(learner=False)}
  with open(
    os.path.join(monitoring.log_directory(workdir), name), 'a', encoding='utf-8'
  ) as log:
    return subprocess.Popen(process.args, env=env, stdout=log, stderr=log)


def _stop(processes: Processes, interrupts: List[int], workdir: str):
  """Stops the processes: actors, so that nothing is counted after the learner has saved;
  then the learner, while the counter still answers; then the others.

  A second interrupt, as time running out, kills.
  """
  # The learner cannot save without the counter and replay.
  alive = all(processes[name].poll() is None for name in ('counter/0', 'replay/0'))
  grace = _GRACE if alive else 0.0
  for group in ('actor/', 'learner/', ''):
    members = [p for name, p in processes.items() if name.startswith(group)]
    for process in members:
      process.terminate()
    deadline = time.time() + grace
    while any(p.poll() is None for p in members):
      late = time.time() > deadline and not checkpointing.is_saving(workdir)
      if late or len(interrupts) > 1:
        break
      time.sleep(0.1)
    for process in members:
      process.kill()
      process.wait()
