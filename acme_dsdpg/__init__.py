"""Distributional Sobolev Deterministic Policy Gradient, an Acme agent."""

import os

# LLVM's costly passes are three quarters of the time that a learner's step takes to
# compile, and make it no faster (results/learner_speed). XLA reads this when it first
# compiles; who names the flag in XLA_FLAGS decides.
_FLAG = '--xla_llvm_disable_expensive_passes'
if _FLAG not in os.environ.get('XLA_FLAGS', ''):
  os.environ['XLA_FLAGS'] = f'{os.environ.get("XLA_FLAGS", "")} {_FLAG}=true'.strip()


def load_policy(path: str):
  """Loads a trained policy: `action = policy(observation)`.

  Args:
    path: a run directory, or the SavedModel within it.

  Returns:
    A `trained.TrainedPolicy`.

  Raises:
    ConfigError: there is no policy at `path`.
  """
  from acme_dsdpg.running import policy_files

  return policy_files.TrainedPolicy(path)
