"""Policies as files: written by a run, read by anyone."""

import contextlib
import os
from typing import Any

from acme import specs
import numpy as np
import tensorflow as tf

from acme_dsdpg import config as config_lib
from acme_dsdpg import networks as networks_lib
from acme_dsdpg.environments import flatten
from acme_dsdpg.running import notices, paths

NAME = 'policy'  # Of the directory within a run's.
_BEFORE = '.before'  # The suffix of an earlier policy while another takes its place.
_UNFINISHED = '.tmp'


def save_policy(
  policy: networks_lib.ActingPolicy, spec: specs.EnvironmentSpec, workdir: str
):
  """Writes the acting policy as a SavedModel: observation [B, S] to action [B, A].

  The model is complete before it takes the place of an earlier one, and at any moment
  `TrainedPolicy` finds one of the two. A failure, of the disk say, is a warning.

  Args:
    policy: built.
    spec: of the environment.
    workdir: the run directory.
  """
  path = os.path.join(paths.directory(workdir, 'workdir'), NAME)
  module = tf.Module()
  module.weights = policy.variables  # Not the model: its layers would be traced too.
  signature = tf.TensorSpec([None, *spec.observations.shape], tf.float32, 'observation')
  module.__call__ = tf.function(
    lambda observation: policy(observation), [signature], autograph=False
  )
  unfinished, before = f'{path}{_UNFINISHED}', f'{path}{_BEFORE}'
  try:
    paths.remove(unfinished)
    tf.saved_model.save(module, unfinished, signatures=module.__call__)
    if os.path.lexists(path):  # A link, whatever it points to, gives way as well.
      paths.remove(before)
      os.rename(path, before)
    os.rename(unfinished, path)
    paths.remove(before)
  except (OSError, tf.errors.OpError) as e:
    with contextlib.suppress(OSError):
      paths.remove(unfinished)
    notices.warn(f'the policy was not saved: {notices.reason(e)}')


def _find(path: str) -> str:
  """The SavedModel that `path` names or contains."""
  inside = os.path.join(path, NAME)
  for directory in (inside, f'{inside}{_BEFORE}', path):
    if os.path.exists(os.path.join(directory, 'saved_model.pb')):
      return directory
  raise config_lib.ConfigError(f'{path!r} holds no policy (a SavedModel).')


class TrainedPolicy:
  """The deterministic policy of a run: `action = policy(observation)`."""

  def __init__(self, path: paths.Path):
    """Loads a policy; see `acme_dsdpg.load_policy`."""
    self._model = tf.saved_model.load(_find(paths.directory(path, 'path')))
    (spec,) = (
      self._model.signatures['serving_default'].structured_input_signature[1].values()
    )
    self.observation_size = spec.shape[-1]

  def __call__(self, observation: Any) -> np.ndarray:
    """Returns the action for an observation.

    Args:
      observation: as the environment returns it, flattened as in training, or flat: [S].
        Or a batch: an array [B, S], or a list of B observations.

    Returns:
      [A] or [B, A] float32 in [-1, 1], which `environments.wrap` scales to the
      environment's own bounds.

    Raises:
      ValueError: the observation has another size than in training.
    """
    size, shape = self.observation_size, getattr(observation, 'shape', ())
    if len(shape) == 2 and shape[1] == size:
      return self._model(np.asarray(observation, np.float32)).numpy()
    flat = flatten.flatten(observation)
    if flat.size == size:
      return self._model(flat[np.newaxis]).numpy()[0]
    if isinstance(observation, (list, tuple)):
      rows = [flatten.flatten(row) for row in observation]
      if all(row.size == size for row in rows):
        return self._model(np.stack(rows)).numpy()
    raise ValueError(
      f'The observation has shape {tuple(shape) or flat.shape}, the policy takes '
      f'[{size}] or [B, {size}].'
    )
