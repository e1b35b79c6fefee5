"""Ctrl-C and SIGTERM."""

import os
import signal
import subprocess
import sys
import time

import pytest

from acme_dsdpg.running import checkpointing, signals
from tests.running import runs


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_ends_within_seconds(tmp_path, number):
  workdir = tmp_path / 'w'
  process = runs.start(workdir, checkpoint_every=1000.0, eval_every=10_000)
  runs.wait_for(lambda: len(runs.steps(workdir, 'actor')) > 1)
  start = time.time()
  process.send_signal(number)
  out, err = process.communicate(timeout=60)
  assert process.returncode == 130, err
  assert time.time() - start < 15
  assert 'interrupted: saving' in out
  counts = checkpointing.newest(str(workdir)).counts
  assert counts['actor_steps'] >= 100
  # Of the episode that was cut as well.
  assert counts['learner_steps'] == runs.updates_due(counts['actor_steps'])
  assert counts['train_seconds'] > float(runs.rows(workdir, 'actor')[-1]['train_seconds'])


BLOCKED = """
import sys, time
from acme_dsdpg import interrupts
signals.GRACE = float(sys.argv[1])
with signals.handled():
  print('ready', flush=True)
  time.sleep(60)  # No safe point, as in a compiler.
"""


@pytest.mark.parametrize(
  ('grace', 'signals', 'text'), [(1.0, 1, 'nothing could be saved'), (30.0, 2, 'again')]
)
def test_where_no_safe_point_is_near_the_process_ends_all_the_same(grace, signals, text):
  process = subprocess.Popen(
    [sys.executable, '-c', BLOCKED, str(grace)], cwd=runs.ROOT, text=True,
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
  with signals.handled():
    signals.check()
    os.kill(os.getpid(), signal.SIGTERM)
    runs.wait_for(signals._requested.is_set, 5)
    with pytest.raises(KeyboardInterrupt):
      signals.check()
    signals.check()  # While it saves.
