"""A run as Launchpad processes on this machine: same builder, config and directory.

    replay  counter  learner  evaluator  actor x num_actors  stopper

Courier and Reverb listen on every network interface without authentication, and
Courier executes what it unpickles: see `isolation`.

The launcher starts the processes and watches them. The stopper's end is the run's:
it returns after the last evaluation. An actor that is killed is replaced; any other
process that ends before is a failure. (Acme's `StepsLimiter` looks every 10 s and
signals the launcher to stop, which a user's signal could not be told from, before
anything final has happened.)
"""

import atexit
import collections
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
from typing import Any, Callable, Dict, Iterator, List, Optional

from acme import specs
from acme.utils import counting
import launchpad as lp
from launchpad.launch.run_locally import launch_local_output_to_files as output_to_files
from launchpad.nodes.python import local_multi_processing
import reverb

from acme_dsdpg import checkpointing, environments
from acme_dsdpg import config as config_lib
from acme_dsdpg import processes as processes_lib

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
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
  cut: Optional[checkpointing.Cut] = None,
) -> lp.Program:
  """The nodes and who talks to whom.

  Args:
    config: the run.
    workdir: its directory, prepared by `run_directory.prepare`.
    environment_factory: seed to wrapped environment; picklable.
    cut: the checkpoint to go on from.
  """
  # Not at the top: counter and stopper import this file, and need no TensorFlow.
  from acme_dsdpg import nodes

  spec = specs.make_environment_spec(environment_factory(config.seed))
  run = nodes.Run(config, workdir, environment_factory, spec, cut)
  # With all threads for each of them, the acting processes would only get in the way.
  acting = dataclasses.replace(config, num_threads=config.num_threads or 1)
  acting_run = dataclasses.replace(run, config=acting)

  program = lp.Program('dsdpg')
  add = lambda label, node: program.add_node(node, label)
  replay = add(
    'replay',
    lp.ReverbNode(
      functools.partial(_Node(nodes.make_replay_tables), run),
      functools.partial(nodes.make_replay_checkpointer, run),
    ),
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
    130 when interrupted by SIGINT or SIGTERM. Learner, counts, replay and policy are
    saved in each case, unless it was the learner, the counter or the replay that died.

  Raises:
    ConfigError: the newest checkpoint is another run's.
  """
  from acme_dsdpg import logging

  workdir = os.path.abspath(workdir)
  cut = checkpointing.newest(workdir)
  if cut is not None:
    checkpointing.check_config(cut, config)
  checkpointing.clean(workdir)
  logging.truncate(workdir, None if cut is None else cut.counts)
  progress = _Progress(config, workdir)
  with _interrupts() as interrupts, _temporary_directory(workdir):
    program = make_program(config, workdir, environment_factory, cut)
    processes = _start(program, workdir, interrupts)
    try:
      starvation = _Starvation(program, config.starvation_timeout)
      failure = _watch(processes, workdir, progress, interrupts, starvation)
      if interrupts:
        progress.line('interrupted: saving; the same command goes on from here')
    finally:
      _stop(processes, interrupts, workdir)
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
  resources = {
    label: local_multi_processing.PythonProcess(env=_environment(label == 'learner'))
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


def _environment(learner: bool) -> Dict[str, str]:
  """What a node's environment has beside the launcher's."""
  env = {
    'TMPDIR': tempfile.gettempdir(),
    # Nodes import TensorFlow within absl's app.run, where it would start in graph mode.
    'TF2_BEHAVIOR': '1',
  }
  return env if learner else {**env, 'CUDA_VISIBLE_DEVICES': ''}


def _watch(
  processes: Processes,
  workdir: str,
  progress: '_Progress',
  interrupts: List[int],
  starvation: '_Starvation',
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
        progress.line(f'{_cause(name, ended.pop(name), workdir)}: replaced')
        processes[name] = _restart(processes[name], name, workdir)
    if ended:
      # What was killed before what failed because of it.
      names = sorted(ended, key=ended.get)
      return '; '.join(_cause(name, ended[name], workdir) for name in names)
    progress.show()
    line = starvation.line()
    if line:
      progress.line(line)
    time.sleep(0.2)
  return None


def _restart(process: subprocess.Popen, name: str, workdir: str) -> subprocess.Popen:
  """An actor like one that has ended, its output appended to the same log."""
  env = {**os.environ, **_environment(learner=False)}
  with open(os.path.join(_log_directory(workdir), name), 'a', encoding='utf-8') as log:
    return subprocess.Popen(process.args, env=env, stdout=log, stderr=log)


class _Starvation:
  """Who waits for whom, where replay's rate limiter has let nobody pass for long."""

  _EVERY = 5.0  # Seconds between two looks.

  def __init__(self, program: lp.Program, timeout: float):
    (node,) = program.groups['replay']
    self._client = reverb.Client(node.reverb_address.resolve())
    self._timeout = timeout
    self._passed = None
    self._since = self._looked = time.time()

  def line(self) -> Optional[str]:
    """A sentence when it is due."""
    now = time.time()
    if now - self._looked < min(self._EVERY, self._timeout / 4):
      return None
    self._looked = now
    try:
      (table,) = self._client.server_info(timeout=1).values()
    except Exception:  # Not up yet, or gone, which `_watch` will see.
      return None
    limiter = table.rate_limiter_info
    inserts, samples = limiter.insert_stats, limiter.sample_stats
    passed = (inserts.completed, samples.completed)
    if passed != self._passed or not any(passed):  # Nobody has begun yet.
      self._passed, self._since = passed, now
      return None
    waited = now - self._since
    if waited < self._timeout:
      return None
    self._since = now
    # How far inserts are ahead, which the limiter keeps between two bounds.
    ahead = inserts.completed * limiter.samples_per_insert - samples.completed
    if table.current_size < limiter.min_size_to_sample or ahead <= limiter.min_diff + 1.0:
      return (
        f'WARNING: the learner has waited {waited:.0f} s for actors to write to replay '
        f'({table.current_size} transitions; it begins at {limiter.min_size_to_sample}).'
      )
    if ahead + limiter.samples_per_insert >= limiter.max_diff:
      return (
        f'WARNING: actors have waited {waited:.0f} s for the learner to draw from replay '
        f'(samples_per_insert={limiter.samples_per_insert:g}). Its step may be compiling.'
      )
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


def _stop(processes: Processes, interrupts: List[int], workdir: str):
  """Stops what runs: actors, so that nothing is counted after the learner has saved;
  then the learner, while the counter still answers; then the others.

  A second interrupt, as time running out, kills.
  """
  # The learner cannot save without the counter and replay.
  alive = all(processes[name].poll() is None for name in ('counter/0', 'replay/0'))
  grace = _GRACE if alive else 0.0
  num_interrupts = max(len(interrupts), 1)
  for group in ('actor/', 'learner/', ''):
    members = [p for name, p in processes.items() if name.startswith(group)]
    for process in members:
      process.terminate()
    deadline = time.time() + grace
    while any(p.poll() is None for p in members):
      late = time.time() > deadline and not checkpointing.is_saving(workdir)
      if late or len(interrupts) > num_interrupts:
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

    self._logs = os.path.join(glob.escape(workdir), 'logs')
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
    for path in sorted(glob.glob(os.path.join(self._logs, f'{label}.csv'))):
      with open(path, encoding='utf-8') as file:
        header = file.readline()
        file.seek(self._seen.get(path, len(header)))
        # The last row may be half written.
        text, newline, _ = file.read().rpartition('\n')
      if not newline:
        continue
      self._seen[path] = self._seen.get(path, len(header)) + len(text) + 1
      for row in csv.DictReader(io.StringIO(header + text)):
        if None not in row and None not in row.values():  # Torn by a full disk.
          yield {k: int(v) if v.isdigit() else float(v) for k, v in row.items()}
