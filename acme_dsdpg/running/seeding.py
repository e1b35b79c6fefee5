"""Seeds, and TensorFlow's global state."""

import numpy as np
import tensorflow as tf

from acme_dsdpg import config as config_lib
from acme_dsdpg.running import notices


def derive_seed(seed: int, *parts: int) -> int:
  """Derives a seed for each resumption, replacement, or environment of an evaluation.

  It is `seed` where all parts are 0.
  """
  if not any(parts):
    return seed
  return int(np.random.SeedSequence([seed, *parts]).generate_state(1)[0] >> 1)


def set_up_tensorflow(config: config_lib.ExperimentConfig, seed: int):
  """Sets TensorFlow's threads and its global seed (of exploration noise).

  Once TensorFlow computes, its threads stay: a warning says so where they are others.
  """
  given, threads = config.num_threads, tf.config.threading
  intra = threads.get_intra_op_parallelism_threads()
  inter = threads.get_inter_op_parallelism_threads()
  try:
    if (intra, inter) != (given, given):
      threads.set_intra_op_parallelism_threads(given)
      threads.set_inter_op_parallelism_threads(given)
  except RuntimeError:
    notices.warn(
      f'num_threads={given} has no effect: TensorFlow already computes in this process.'
    )
  tf.random.set_seed(seed)
