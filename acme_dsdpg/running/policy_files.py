"""A trained policy, from its files to actions."""

import os
from typing import Any

import numpy as np
import tensorflow as tf

from acme_dsdpg import config as config_lib
from acme_dsdpg.environments import flatten


class TrainedPolicy:
  """The deterministic policy of a run: `action = policy(observation)`."""

  def __init__(self, path: str):
    """Loads a policy; see `acme_dsdpg.load_policy`."""
    inside = os.path.join(path, 'policy')
    directory = inside if os.path.isdir(inside) else path
    if not os.path.exists(os.path.join(directory, 'saved_model.pb')):
      raise config_lib.ConfigError(f'{path!r} holds no policy (a SavedModel).')
    self._model = tf.saved_model.load(directory)
    (spec,) = (
      self._model.signatures['serving_default'].structured_input_signature[1].values()
    )
    self.observation_size = spec.shape[-1]

  def __call__(self, observation: Any) -> np.ndarray:
    """The action for an observation.

    Args:
      observation: as the environment returns it (nested dicts are flattened in the
        order of training), or flat: [S], or a batch [B, S].

    Returns:
      [A] or [B, A] float32 in [-1, 1], which `environments.wrap` scales to the
      environment's own bounds.

    Raises:
      ValueError: the observation has another size than in training.
    """
    flat = np.asarray(
      flatten.flatten(observation) if isinstance(observation, dict) else observation,
      np.float32,
    )
    if flat.ndim not in (1, 2) or flat.shape[-1] != self.observation_size:
      raise ValueError(
        f'The observation has shape {flat.shape}, the policy takes '
        f'[{self.observation_size}] or [B, {self.observation_size}].'
      )
    actions = self._model(np.atleast_2d(flat)).numpy()
    return actions if flat.ndim == 2 else actions[0]
