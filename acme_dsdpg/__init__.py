"""Distributional Sobolev Deterministic Policy Gradient, an Acme agent.

A program begins with `set_up()`. Importing the package changes nothing but where
Launchpad's `courier` is found (`stand_ins`).
"""

from acme_dsdpg.libraries import set_up

__all__ = ['load_policy', 'set_up']


def load_policy(path: str):
  """Loads a trained policy: `action = policy(observation)`.

  Args:
    path: a run directory, or the SavedModel within it.

  Returns:
    A `running.policy_files.TrainedPolicy`.

  Raises:
    ConfigError: there is no policy at `path`.
  """
  from acme_dsdpg.running import policy_files  # TensorFlow, when it is needed.

  return policy_files.TrainedPolicy(path)
