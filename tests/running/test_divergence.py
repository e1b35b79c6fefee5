"""A learner that diverges; see test_learning.py for single updates."""

import numpy as np

from acme_dsdpg.running import checkpointing
from tests.running import runs


def test_a_learner_that_diverges_ends_the_run_and_keeps_the_batch(tmp_path):
  workdir = tmp_path / 'w'
  status, _, err = runs.run(
    workdir, critic_learning_rate=1e30, max_skipped_updates=5,
    checkpoint_every=1000.0,
  )  # fmt: skip
  assert status == 1
  assert '5 updates in a row met losses or gradients that are not finite' in err
  assert len(err.strip().splitlines()) == 1
  with np.load(workdir / 'offending_batch.npz') as batch:
    assert batch['observation'].shape == (8, 3)
    assert all(np.all(np.isfinite(batch[name])) for name in batch.files)
  assert checkpointing.newest(str(workdir)).counts['learner_steps'] == 0
