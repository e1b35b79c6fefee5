"""An environment wrapper: nested observations to one float32 vector."""

from acme import specs
from acme.wrappers import base
import dm_env
import numpy as np
import tree


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
    leaves = [np.ravel(leaf) for leaf in tree.flatten(timestep.observation)]
    observation = np.concatenate(leaves).astype(np.float32)
    return timestep._replace(observation=observation)
