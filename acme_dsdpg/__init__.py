"""Distributional Sobolev Deterministic Policy Gradient, an Acme agent."""

import os

# LLVM's costly passes take minutes on a learner's step and make it no faster
# (results/learner_speed). XLA reads this once, when it first compiles.
os.environ.setdefault('XLA_FLAGS', '--xla_llvm_disable_expensive_passes=true')


def load_policy(path: str):
  """Loads a trained policy: `action = policy(observation)`.

  Args:
    path: a run directory, or the SavedModel within it.

  Returns:
    A `trained.TrainedPolicy`.

  Raises:
    ConfigError: there is no policy at `path`.
  """
  from acme_dsdpg import trained  # TensorFlow is imported when it is needed.

  return trained.TrainedPolicy(path)
