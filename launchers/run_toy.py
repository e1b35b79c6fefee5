"""The paper's supervised figures: `python launchers/run_toy.py --figure=all`.

Trains what a figure needs, several arms at once, and draws it. Below the run directory:

    settings.json              steps and seeds, shared by everything in it
    summary.csv                metrics at the end, over the seeds, of every arm trained
    arms/<arm>/metrics.csv     every metric at every evaluated step and seed
    arms/<arm>/ckpt-*          the models of all seeds
    figure_<n>.png, .pdf

Stopped at any moment, the same command goes on where it was; arms that figures share are
trained once.
"""

import concurrent.futures
import dataclasses
import json
import multiprocessing
import os
import signal
import sys
import time

from acme_dsdpg.running import quiet

quiet.silence()

from absl import flags
import tqdm

from acme_dsdpg import config as config_lib
from acme_dsdpg.running import command_line
from acme_dsdpg.toy import arms as arms_lib

_NAMES = tuple(map(str, arms_lib.FIGURES))
_FIGURE = flags.DEFINE_list('figure', ['all'], f'all, or some of {", ".join(_NAMES)}.')
_STEPS = flags.DEFINE_integer('steps', 25_000, 'Optimizer steps.', 1)
_SEEDS = flags.DEFINE_integer('seeds', 5, 'Models of an arm, trained together.', 1)
_NUM_POINTS = flags.DEFINE_list(
  'num_points', None, 'Sizes of the data sets drawn once. (default: 4,8,16,32,64)'
)
_PARALLEL = flags.DEFINE_integer('parallel', 2, 'Arms at once.', 1)
_WORKDIR = flags.DEFINE_string(
  'workdir', None, 'Run directory. (default: runs/toy-<steps>steps-<seeds>seeds)'
)


def _parse_figures():
  names = _NAMES if _FIGURE.value == ['all'] else _FIGURE.value
  for name in names:
    if name not in _NAMES:
      raise config_lib.ConfigError(
        f'figure={name!r} is not valid: it must be all or one of {", ".join(_NAMES)}.'
      )
  return sorted({int(name) for name in names})


def _parse_num_points():
  if _NUM_POINTS.value is None:
    return arms_lib.NUM_POINTS
  try:
    numbers = sorted({int(n) for n in _NUM_POINTS.value})
  except ValueError:
    numbers = []
  if not numbers or numbers[0] < 1:
    raise config_lib.ConfigError(
      f'num_points={",".join(_NUM_POINTS.value)!r} is not valid: it must be whole '
      'numbers greater than 0, separated by commas.'
    )
  return tuple(numbers)


def _prepare(workdir, settings):
  """Makes the directory; refuses one with other settings."""
  path = os.path.join(workdir, 'settings.json')
  if os.path.exists(path):
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
    return
  try:
    os.makedirs(workdir, exist_ok=True)
    if os.listdir(workdir):
      raise config_lib.ConfigError(
        f'workdir={workdir!r} has files but no settings.json: give another --workdir.'
      )
    with open(f'{path}.tmp', 'w', encoding='utf-8') as file:
      json.dump(settings, file)
    os.replace(f'{path}.tmp', path)
  except OSError as e:
    raise config_lib.ConfigError(
      f'workdir={workdir!r} cannot be written: {e.strerror}.'
    ) from e


def _start_worker(queue, parent):
  global _queue
  _queue = queue
  signal.signal(signal.SIGINT, signal.SIG_IGN)  # The parent stops it.
  quiet.silence()
  from acme_dsdpg.running import processes

  processes.die_with_parent(parent)
  import tensorflow as tf

  tf.config.threading.set_intra_op_parallelism_threads(1)
  # The seeds' steps are independent: they take the cores that other arms leave.
  tf.config.threading.set_inter_op_parallelism_threads(os.cpu_count())


def _train(arm, settings, workdir):
  from acme_dsdpg.toy import experiment

  first = iter([True])

  def report(steps):
    _queue.put((arm, steps, next(first, False)))

  experiment.train(arm, settings, workdir, report)


def _standing(done, before, total, seconds):
  """A line for where no bar is shown; `before` was done when it began."""
  line = f'{done / total:.0%} after {seconds / 60:.0f} min'
  if done > before:
    line += f', {seconds * (total - done) / (done - before) / 60:.0f} min left'
  return line


def _train_all(arms, settings, workdir, parallel):
  """Trains the arms, the long ones first."""
  # Steps weigh as much as they take; what is done already is where the bar begins.
  weights = {arm: arm.cost for arm in arms}
  total = settings.num_steps * sum(weights.values())
  context = multiprocessing.get_context('spawn')
  queue = context.SimpleQueue()
  bar = tqdm.tqdm(
    total=total, file=sys.stdout, disable=not sys.stdout.isatty(),
    bar_format='{percentage:3.0f}%|{bar}| {elapsed} so far, {remaining} left',
  )  # fmt: skip
  start = shown = time.time()
  done = before = 0
  executor = concurrent.futures.ProcessPoolExecutor(
    parallel, context, _start_worker, (queue, os.getpid())
  )
  with bar, executor:
    futures = [
      executor.submit(_train, arm, settings, workdir)
      for arm in sorted(arms, key=lambda arm: -arm.cost)
    ]
    try:
      while not all(future.done() for future in futures):
        for future in futures:
          if future.done():
            future.result()  # What a worker raises ends the others.
        time.sleep(0.2)
        while not queue.empty():
          arm, steps, resumed = queue.get()
          if resumed:
            bar.initial = before = before + weights[arm] * steps
          done += weights[arm] * steps
          bar.update(weights[arm] * steps)
        if bar.disable and time.time() - shown > 60.0:
          shown = time.time()
          print(_standing(done, before, total, time.time() - start), flush=True)
      for future in futures:
        future.result()
    except BaseException:
      for future in futures:
        future.cancel()
      for process in list(executor._processes.values()):
        process.terminate()
      raise


def main():
  """Flags in; arms trained; figures drawn."""
  settings = arms_lib.Settings(_STEPS.value, _SEEDS.value)
  workdir = _WORKDIR.value or f'runs/toy-{_STEPS.value}steps-{_SEEDS.value}seeds'
  numbers = _parse_figures()
  num_points = _parse_num_points()
  _prepare(workdir, dataclasses.asdict(settings))
  arms = {arm for n in numbers for arm in arms_lib.FIGURES[n](num_points)}
  print(f'{len(arms)} arms of {settings.num_seeds} seeds, {workdir}', flush=True)
  start = time.time()
  # SIGINT as well: a shell that starts a command in the background has it ignored.
  for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.default_int_handler)
  try:
    _train_all(arms, settings, workdir, _PARALLEL.value)
  except KeyboardInterrupt:
    print('interrupted: the same command goes on from here', file=sys.stderr)
    sys.exit(130)
  from acme_dsdpg.toy import experiment, figures

  path = os.path.join(workdir, 'summary.csv')
  every = {
    arm for of_figure in arms_lib.FIGURES.values() for arm in of_figure(num_points)
  }
  every = sorted(every, key=lambda arm: arm.name)
  experiment.write_summary(path, workdir, every, settings)
  print(path)
  print(f'trained in {(time.time() - start) / 60:.1f} min')

  for n in numbers:
    figure = figures.DRAW[n](workdir, settings, num_points)
    for suffix in ('png', 'pdf'):
      path = os.path.join(workdir, f'figure_{n}.{suffix}')
      figure.savefig(path, dpi=150)
      print(path)


if __name__ == '__main__':
  command_line.run(main)
