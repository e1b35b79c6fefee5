"""Errors that end a run or an episode. TensorFlow is not imported here."""

import os
from typing import Any, Mapping

import numpy as np


class RunFailedError(Exception):
  """The run cannot go on; the text says why, for a person."""


class RunInterruptedError(Exception):
  """SIGINT or SIGTERM ended the run; the same command goes on from its checkpoint."""


class NonFiniteActionError(RunFailedError):
  """The policy itself is broken."""


class EnvironmentFaultError(Exception):
  """An environment raised, hung, or returned what is not finite."""


class TimeLimitError(Exception):
  """A call took longer than it may."""


def failed_learning(
  error: Exception, batch: Mapping[str, Any], workdir: str
) -> RunFailedError:
  """Keeps the batch that a learner failed on; returns what the run ends with."""
  path = os.path.join(workdir, 'offending_batch.npz')
  np.savez(path, **batch)
  return RunFailedError(
    f'{error} The last batch is in {path}, the last checkpoint is untouched.'
  )
