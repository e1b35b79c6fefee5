"""Flattening of nested observations to one float32 vector."""

from typing import Any

from acme import specs
from acme.wrappers import base
import dm_env
import numpy as np
import tree


def flatten(observation: Any) -> np.ndarray:
  """Returns a nested observation as one float32 vector, its keys sorted."""
  leaves = [np.ravel(leaf) for leaf in tree.flatten(observation)]
  return np.concatenate(leaves).astype(np.float32)


class FlattenObservationWrapper(base.EnvironmentWrapper):
  """Flattens nested observations, in sorted order of their keys.

  Acme's ConcatObservationWrapper wants leaves that differ in their first axis
  only; the suite's manipulator and stacker have vectors beside matrices.
  """

  def step(self, action) -> dm_env.TimeStep:
    return self._flatten(self._environment.step(action))

  def reset(self) -> dm_env.TimeStep:
    return self._flatten(self._environment.reset())

  def observation_spec(self) -> specs.Array:
    leaves = tree.flatten(self._environment.observation_spec())
    size = sum(int(np.prod(leaf.shape)) for leaf in leaves)
    return specs.Array((size,), np.float32, name='observation')

  def _flatten(self, timestep: dm_env.TimeStep) -> dm_env.TimeStep:
    return timestep._replace(observation=flatten(timestep.observation))
