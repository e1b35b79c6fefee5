"""Distributional Sobolev Deterministic Policy Gradient, an Acme agent."""


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
