"""Sweeps: agents x tasks x seeds, read from a file and run as processes.

TensorFlow is not imported here.
"""

import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

from acme_dsdpg import config as config_lib
from acme_dsdpg import environments
from acme_dsdpg.agent import presets
from acme_dsdpg.running import errors, log_files, paths, run_directory

_BLOCK = dict(agents=dict, tasks=list, seeds=list, overrides=dict)
_REFRESH = 10.0  # Seconds.


@dataclasses.dataclass
class Run:
  """One run of a sweep.

  Attributes:
    name: of the agent, in the sweep.
    config: of the run.
    flags: of the launcher, which make this config.
    workdir: the run directory.
    process: the run's, while it runs.
    failed: whether its process ended with an error.
  """

  name: str
  config: config_lib.ExperimentConfig
  flags: Tuple[str, ...]
  workdir: str
  process: Optional[subprocess.Popen] = None
  failed: bool = False

  def progress(self) -> Tuple[int, Optional[float]]:
    """Reads (steps, return) of the last evaluation, or (0, None)."""
    last = log_files.last_row(self.workdir, 'evaluator')
    return (int(last['actor_steps']), last['episode_return']) if last else (0, None)

  @property
  def complete(self) -> bool:
    """True if the last evaluation is that of the last step."""
    return self.progress()[0] >= self.config.num_steps

  @property
  def state(self) -> str:
    """The state: 'waiting', 'running', 'complete' or 'failed'."""
    if self.failed:
      return 'failed'
    if self.process is not None:
      return 'running'
    return 'complete' if self.complete else 'waiting'

  def start(self, launcher: pathlib.Path):
    """Starts the process; its output goes to a file beside the run directory.

    Raises:
      RunFailedError: that cannot be written.
    """
    try:
      os.makedirs(os.path.dirname(self.workdir), exist_ok=True)
      out = open(f'{self.workdir}.out', 'ab')
    except OSError as e:
      raise errors.RunFailedError(
        f'{self.workdir}.out cannot be written: {e.strerror}.'
      ) from e
    root = str(launcher.resolve().parents[1])
    path = os.pathsep.join(filter(None, (root, os.environ.get('PYTHONPATH'))))
    with out:
      self.process = subprocess.Popen(
        [sys.executable, str(launcher), *self.flags, f'--workdir={self.workdir}'],
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=subprocess.STDOUT,
        # OpenMP's own threads would outnumber the one asked for.
        env={**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': path},
        start_new_session=True,  # Ctrl-C reaches it through `_stop` alone.
      )


def read_sweep(path: str, output: str) -> List[Run]:
  """Reads the runs of a sweep file, checked before any starts.

  Args:
    path: a JSON file with a list of blocks, each of them agents x tasks x seeds.
    output: the directory of the run directories.

  Raises:
    ConfigError: what is wrong with the file.
  """
  path = paths.absolute(path, 'sweep file')
  output = paths.directory(output, 'output')
  try:
    # With the mark that editors on Windows begin a file with, or without.
    blocks = json.loads(pathlib.Path(path).read_text(encoding='utf-8-sig'))
  except OSError as e:
    raise config_lib.ConfigError(f'{path!r} cannot be read: {e.strerror}.') from e
  except (json.JSONDecodeError, UnicodeDecodeError) as e:
    raise config_lib.ConfigError(f'{path!r} is no JSON: {e}.') from e
  if not isinstance(blocks, list) or not all(isinstance(b, dict) for b in blocks):
    raise config_lib.ConfigError(f'{path!r} must hold a list of blocks: see --help.')
  runs = {}
  for block in blocks:
    _check_block(path, block)
    for task in block['tasks']:
      for name, fields in block['agents'].items():
        for seed in block['seeds']:
          overrides = {**block.get('overrides', {}), **fields, 'seed': seed}
          run = _make_run(name, task, overrides, output)
          if run.workdir in runs:
            raise config_lib.ConfigError(f'{run.workdir} is in {path!r} twice.')
          runs[run.workdir] = run
  return list(runs.values())


def make_output(output: str):
  """Makes the directory of the run directories. Raises ConfigError if it cannot be.

  Nor if nothing can be written to it.
  """
  output = paths.directory(output, 'output')
  try:
    os.makedirs(output, exist_ok=True)
  except OSError as e:
    raise config_lib.ConfigError(
      f'output={output!r} cannot be a directory: {e.strerror}.'
    ) from e
  paths.check_writable(output, 'output')


def screen(runs: Sequence[Run]) -> str:
  """A line for each run and one for all."""
  lines = []
  for run in sorted(runs, key=lambda r: r.workdir):
    steps, episode_return = run.progress()
    shown = '' if episode_return is None else f'return {episode_return:7.1f}'
    label = f'{run.config.env}-{run.config.task} {run.name} seed {run.config.seed}'
    lines.append(
      f'{run.state:9} {steps:>9,}/{run.config.num_steps:,}  {shown:14}  {label}'
    )
  counts = {s: sum(r.state == s for r in runs) for s in ('complete', 'running', 'failed')}
  summary = ', '.join(f'{n} {state}' for state, n in counts.items())
  return '\n'.join([*lines, f'{len(runs)} runs: {summary}'])


def work(
  runs: Sequence[Run],
  parallel: int,
  launcher: pathlib.Path,
  on_complete: Callable[[Run], None] = lambda run: None,
) -> bool:
  """Runs what is not complete; interrupted, it stops its processes and raises.

  Args:
    runs: `read_sweep`'s.
    parallel: number of processes at a time.
    launcher: the program that is started for each run.
    on_complete: called with each run that comes to its end.

  Returns:
    Whether all runs are complete.
  """
  waiting = [run for run in runs if not run.complete]
  running, shown = [], 0.0
  try:
    while waiting or running:
      while waiting and len(running) < parallel:
        running.append(waiting.pop(0))
        running[-1].start(launcher)
      time.sleep(0.5)
      for run in [r for r in running if r.process.poll() is not None]:
        running.remove(run)
        status, run.process = run.process.returncode, None
        run.failed = status != 0
        if run.failed:
          print(f'failed with status {status}: see {run.workdir}.out', flush=True)
        elif run.complete:
          on_complete(run)
      if sys.stdout.isatty() and time.time() - shown > _REFRESH:
        shown = time.time()
        print(f'\033[H\033[2J{screen(runs)}', flush=True)
  except KeyboardInterrupt:
    print('interrupted: the same command goes on from here', flush=True)
    raise
  finally:
    _stop([run for run in running if run.process is not None])
  return all(run.complete for run in runs)


def _stop(running: Sequence[Run]):
  """Asks the runs to save and exit, and waits."""
  for run in running:
    run.process.send_signal(signal.SIGTERM)
  for run in running:
    run.process.wait()
    run.process = None


def _check_block(path: str, block: Mapping[str, Any]):
  """Raises ConfigError where a block has not the keys and types that it must have."""
  unknown = set(block) - set(_BLOCK)
  missing = set(_BLOCK) - {'overrides'} - set(block)
  if unknown or missing:
    raise config_lib.ConfigError(
      f'A block of {path!r} has agents, tasks, seeds and perhaps overrides; '
      f'unknown: {sorted(unknown)}, missing: {sorted(missing)}.'
    )
  for key, value in block.items():
    if not isinstance(value, _BLOCK[key]):
      kind = 'list' if _BLOCK[key] is list else 'dictionary'
      raise config_lib.ConfigError(f'{key} in {path!r} must be a {kind}, not {value!r}.')
    if not value and key != 'overrides':
      raise config_lib.ConfigError(f'{key} in {path!r} is empty: nothing would run.')
  _check_fields(path, 'overrides', block.get('overrides', {}))
  for name, fields in block['agents'].items():
    if os.path.basename(name) != name or name in ('', '.', '..'):
      raise config_lib.ConfigError(
        f'Agent {name!r} in {path!r} must be named as its directory can be.'
      )
    if not isinstance(fields, dict):
      raise config_lib.ConfigError(
        f'Agent {name!r} in {path!r} must be a dictionary of fields, not {fields!r}.'
      )
    _check_fields(path, f'agent {name!r}', fields)
  for task in block['tasks']:
    if not isinstance(task, str):
      raise config_lib.ConfigError(
        f'Task {task!r} in {path!r} must be a name, as "walker-walk".'
      )


def _check_fields(path: str, where: str, fields: Mapping[str, Any]):
  """Raises ConfigError where fields would be overwritten by the lists of the block."""
  listed = sorted({'env', 'task', 'seed'} & set(fields))
  if listed:
    raise config_lib.ConfigError(
      f'{listed[0]!r} among the fields of {where} in {path!r} would have no effect: '
      'tasks and seeds are lists of the block.'
    )


def _make_run(name: str, task: str, overrides: Dict[str, Any], output: str) -> Run:
  """A run whose config has been checked, against what is in its directory as well."""
  env, _, task_name = task.partition('-')
  values = {'agent': name, 'num_threads': 1, **overrides, 'env': env}
  values['task'] = environments.resolve_task(env, task_name or None)
  config = presets.make_config(values, presets.env_overrides(env))
  workdir = os.path.join(output, f'{env}-{config.task}', f'{name}-seed{config.seed}')
  if os.path.exists(os.path.join(workdir, 'config.json')):
    run_directory.check_same(run_directory.load(workdir, resumable=True), config, workdir)
  paths.directory(workdir, 'run directory')  # With the agent's name in it.
  as_flag = lambda v: ','.join(map(str, v)) if isinstance(v, (list, tuple)) else str(v)
  flags = tuple(f'--{k}={as_flag(v)}' for k, v in values.items())
  return Run(name, config, flags, workdir)
