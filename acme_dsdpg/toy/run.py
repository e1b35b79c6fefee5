"""Trains the arms of the figures, several at once, and draws the figures.

Below the run directory:

    settings.json              steps and seeds, shared by everything in it
    summary.csv                metrics at the end, over the seeds, of every arm trained
    arms/<arm>/metrics.csv     every metric at every evaluated step and seed
    arms/<arm>/ckpt-*          the models of all seeds
    figure_<n>.png, .pdf

TensorFlow is imported by the processes that train, and by `draw`.
"""

import concurrent.futures
import dataclasses
import json
import multiprocessing
import os
import signal
import sys
import time
from typing import Iterable, List, Mapping, Sequence

import tqdm

import acme_dsdpg
from acme_dsdpg import config as config_lib
from acme_dsdpg.running import paths, processes, run_directory
from acme_dsdpg.toy import arms as arms_lib
from acme_dsdpg.toy.arms import Arm, Settings


def make_figures(
  numbers: Sequence[int],
  settings: Settings,
  num_points: Sequence[int],
  workdir: str,
  parallel: int,
):
  """Trains what the figures need, draws them, and says where everything is.

  What an earlier call has trained is not trained again; interrupted, it raises.

  Args:
    numbers: of the figures.
    settings: shared by the arms.
    num_points: sizes of the data sets drawn once.
    workdir: the run directory.
    parallel: number of arms trained at a time.

  Raises:
    ConfigError: the directory cannot be used, or has been used with other settings.
  """
  workdir = paths.directory(workdir, 'workdir')
  try:
    prepare(workdir, settings)
    _make_figures(numbers, settings, num_points, workdir, parallel)
  finally:
    run_directory.release(workdir)


def _make_figures(
  numbers: Sequence[int],
  settings: Settings,
  num_points: Sequence[int],
  workdir: str,
  parallel: int,
):
  arms = {arm for n in numbers for arm in arms_lib.FIGURES[n](num_points)}
  print(f'{len(arms)} arms of {settings.num_seeds} seeds, {workdir}', flush=True)
  start = time.time()
  try:
    train_all(arms, settings, workdir, parallel)
  except KeyboardInterrupt:
    print('interrupted: the same command goes on from here', file=sys.stderr)
    raise
  print(f'trained in {(time.time() - start) / 60:.1f} min')
  print(*draw(numbers, settings, num_points, workdir), sep='\n')


def prepare(workdir: str, settings: Settings):
  """Makes the run directory, which is this process's until it is released.

  Raises:
    ConfigError: it cannot be written, has other settings, or files of something else, or
      another process is running in it.
  """
  path = os.path.join(workdir, 'settings.json')
  settings = dataclasses.asdict(settings)
  try:
    os.makedirs(workdir, exist_ok=True)
    run_directory.hold(workdir)
    if os.path.exists(path):
      _check_same(path, settings, workdir)
      paths.check_writable(workdir, 'workdir')
      return
    entries = set(os.listdir(workdir)) - {'settings.json.tmp'}
    if entries - run_directory.logs_of_jobs(workdir, entries):
      raise config_lib.ConfigError(
        f'workdir={workdir!r} has files but no settings.json: give another --workdir.'
      )
    with open(f'{path}.tmp', 'w', encoding='utf-8') as file:
      json.dump(settings, file)
    os.replace(f'{path}.tmp', path)
  except OSError as e:
    raise config_lib.ConfigError(
      f'workdir={workdir!r} cannot be read or written: {e.strerror}.'
    ) from e


def _check_same(path: str, settings: Mapping[str, int], workdir: str):
  """Raises ConfigError unless the file holds these settings."""
  with open(path, encoding='utf-8') as file:
    text = file.read()
  try:
    before = json.loads(text)
  except json.JSONDecodeError as e:
    raise config_lib.ConfigError(f'{path!r} is damaged: {e}.') from e
  if before != settings:
    raise config_lib.ConfigError(
      f'workdir={workdir!r} holds figures with {before}, not {settings}: '
      'give another --workdir.'
    )


def train_all(arms: Iterable[Arm], settings: Settings, workdir: str, parallel: int):
  """Trains the arms in processes, `parallel` at a time, the long ones first."""
  arms = sorted(arms, key=lambda arm: -arm.cost)
  context = multiprocessing.get_context('spawn')
  queue = context.SimpleQueue()
  executor = concurrent.futures.ProcessPoolExecutor(
    parallel, context, _start_worker, (queue, os.getpid())
  )
  with _Progress(arms, settings.num_steps) as progress, executor:
    futures = [executor.submit(_train, arm, settings, workdir) for arm in arms]
    try:
      while not all(future.done() for future in futures):
        for future in futures:
          if future.done():
            future.result()  # What a worker raises ends the others.
        time.sleep(0.2)
        while not queue.empty():
          progress.add(*queue.get())
        progress.show()
      for future in futures:
        future.result()
    except BaseException:
      for future in futures:
        future.cancel()
      for process in list(executor._processes.values()):
        process.terminate()
      raise


def draw(
  numbers: Sequence[int], settings: Settings, num_points: Sequence[int], workdir: str
) -> List[str]:
  """Writes the summary and the figures of trained arms; returns the files' paths."""
  from acme_dsdpg.toy import experiment, figures

  summary = os.path.join(workdir, 'summary.csv')
  # Of all that is there, not of these figures alone.
  every = {arm for needed in arms_lib.FIGURES.values() for arm in needed(num_points)}
  every = sorted(every, key=lambda arm: arm.name)
  experiment.write_summary(summary, workdir, every, settings)
  paths = [summary]
  for n in numbers:
    figure = figures.DRAW[n](workdir, settings, num_points)
    for suffix in ('png', 'pdf'):
      paths.append(os.path.join(workdir, f'figure_{n}.{suffix}'))
      figure.savefig(paths[-1], dpi=150)
  return paths


class _Progress:
  """A bar on a terminal, a line a minute elsewhere."""

  def __init__(self, arms: Sequence[Arm], num_steps: int):
    # Steps weigh as much as they take.
    self._total = num_steps * sum(arm.cost for arm in arms)
    self._bar = tqdm.tqdm(
      total=self._total, file=sys.stdout, disable=not sys.stdout.isatty(),
      bar_format='{percentage:3.0f}%|{bar}| {elapsed} so far, {remaining} left',
    )  # fmt: skip
    self._start = self._shown = time.time()
    self._before = self._done = 0  # What was done when it began; all that is done.

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self._bar.close()

  def add(self, arm: Arm, num_steps: int, resumed: bool):
    """Counts steps of an arm; `resumed`: they were taken before."""
    cost = arm.cost * num_steps
    if resumed:
      self._bar.initial = self._before = self._before + cost
    self._done += cost
    self._bar.update(cost)

  def show(self):
    """Prints a line if there is no bar and a minute has passed."""
    if not self._bar.disable or time.time() - self._shown <= 60.0:
      return
    self._shown = time.time()
    seconds = self._shown - self._start
    line = f'{self._done / self._total:.0%} after {seconds / 60:.0f} min'
    new = self._done - self._before
    if new:
      line += f', {seconds * (self._total - self._done) / new / 60:.0f} min left'
    print(line, flush=True)


def _start_worker(queue, parent: int):
  global _queue
  _queue = queue
  for number in (signal.SIGINT, signal.SIGHUP):  # The parent stops it.
    signal.signal(number, signal.SIG_IGN)
  processes.die_with_parent(parent)
  acme_dsdpg.set_up()
  import tensorflow as tf

  tf.config.threading.set_intra_op_parallelism_threads(1)
  # The seeds' steps are independent: they take the cores that other arms leave.
  tf.config.threading.set_inter_op_parallelism_threads(os.cpu_count())


def _train(arm: Arm, settings: Settings, workdir: str):
  from acme_dsdpg.toy import experiment

  first = iter([True])

  def report(steps):
    _queue.put((arm, steps, next(first, False)))

  experiment.train(arm, settings, workdir, report)
