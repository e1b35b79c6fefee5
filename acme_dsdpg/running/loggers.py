"""Loggers of a run: CSV, TensorBoard, the terminal."""

import contextlib
import os
import sys
import time
from typing import Any, Callable, Mapping, Optional

from acme.utils import counting, loggers
from acme.utils.loggers import tf_summary
import tensorflow as tf
import tqdm

from acme_dsdpg.running import notices


def make_logger(
  workdir: str, label: str, steps_key: Optional[str] = 'actor_steps'
) -> loggers.Logger:
  """Makes a logger that appends rows to `logs/<label>.csv` and to TensorBoard's files.

  TensorBoard's folder is `tensorboard/<label>`: of several files that grow in one folder
  it follows the last alone.

  Args:
    workdir: the run directory.
    label: names the file and TensorBoard's folder and curves.
    steps_key: TensorBoard's x axis, a key of the rows.
  """
  os.makedirs(os.path.join(workdir, 'logs'), exist_ok=True)
  path = os.path.join(workdir, 'logs', f'{label}.csv')
  file = open(path, 'a', encoding='utf-8')
  folder = os.path.join(workdir, 'tensorboard', label)
  of_tensorboard = tf_summary.TFSummaryLogger(folder, label, steps_key)
  return loggers.Dispatcher(
    [
      _Tolerant(loggers.CSVLogger(file, flush_every=1), path, file.close),
      _Tolerant(of_tensorboard, folder),
    ]
  )


def start_counts(counter: counting.Counter, train_cpu_seconds: float = 0.0):
  """Makes each count present from the first row on, which fixes a CSV file's columns.

  Args:
    counter: the run's.
    train_cpu_seconds: NaN where they are not counted; the sum stays NaN.
  """
  keys = (
    'actor_steps', 'actor_episodes', 'actor_environment_faults', 'learner_steps',
    'train_seconds',
  )  # fmt: skip
  counter.increment(**dict.fromkeys(keys, 0), train_cpu_seconds=train_cpu_seconds)


class _Tolerant(loggers.Logger):
  """Goes on past a full disk, with one warning."""

  def __init__(
    self, logger: loggers.Logger, path: str, close: Callable[[], None] = lambda: None
  ):
    self._logger, self._path, self._failed = logger, path, False
    self._close = close

  def write(self, data: Mapping[str, Any]):
    self._try(lambda: self._logger.write(data))

  def close(self):
    self._try(self._logger.close)
    self._try(self._close)

  def _try(self, call):
    try:
      call()
    except (OSError, tf.errors.OpError) as e:
      if not self._failed:
        notices.warn(f'{self._path}: {e}')
      self._failed = True


class Progress:
  """A progress bar on a terminal, plain lines elsewhere."""

  EVERY = 1.0  # Seconds between two episodes that are shown: some last one step.

  def __init__(self, num_steps: int, initial: int = 0):
    self._num_steps = num_steps
    self._bar = None
    self._shown = -self.EVERY
    if sys.stdout.isatty():
      self._bar = tqdm.tqdm(
          total=num_steps, initial=initial, unit='step', file=sys.stdout,
          dynamic_ncols=True,
      )  # fmt: skip

  def episode(self, row: Mapping[str, Any]):
    """Shows an episode of acting, unless another has just been shown."""
    if time.monotonic() - self._shown < self.EVERY:
      return
    self._shown = time.monotonic()
    if self._bar is not None:
      self._bar.update(row['actor_steps'] - self._bar.n)
      self._bar.set_postfix_str(f'return {float(row["episode_return"]):.1f}')
    else:
      self.line(
        f'step {row["actor_steps"]}/{self._num_steps}'
        f'  return {float(row["episode_return"]):.1f}'
        f'  {row["steps_per_second"]:.0f} steps/s'
        f'  {row.get("learner_steps", 0)} updates'
      )

  def evaluation(self, row: Mapping[str, Any]):
    """Shows a block of evaluation episodes."""
    plural = 's' if row['episodes'] > 1 else ''
    self.line(
      f'evaluation at step {row["actor_steps"]}:'
      f' return {row["episode_return"]:.1f} +- {row["episode_return_std"]:.1f}'
      f' over {row["episodes"]} episode{plural}'
    )

  def line(self, text: str):
    """Shows a line without disturbing the bar."""
    if self._bar is not None:
      with contextlib.suppress(OSError):  # The terminal may have been closed.
        self._bar.write(text, file=sys.stdout)
    else:
      notices.say(text)

  def close(self):
    """Closes the bar and leaves it as it is."""
    if self._bar is not None:
      self._bar.close()
