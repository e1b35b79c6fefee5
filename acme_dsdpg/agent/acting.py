"""Actors: one that acts, and one that learns as it acts."""

import contextlib
from typing import Callable, ContextManager, Optional

from acme import adders, core
from acme.agents.tf import actors
from acme.tf import variable_utils
import dm_env
import numpy as np
import tensorflow as tf


class FeedForwardActor(actors.FeedForwardActor):
  """Acme's FeedForwardActor with its policy traced once.

  Called through the trace of its one signature, a policy of this size costs half:
  the other half is `tf.function` finding that trace anew for each action.
  """

  def __init__(
    self,
    policy_network,
    observation_size: int,
    adder: Optional[adders.Adder] = None,
    variable_client: Optional[variable_utils.VariableClient] = None,
  ):
    super().__init__(policy_network, adder, variable_client)
    signature = tf.TensorSpec([observation_size], tf.float32)
    self._traced_policy = self._policy.get_concrete_function(signature)

  def select_action(self, observation: np.ndarray) -> np.ndarray:
    """Maps an observation [S] float32 to an action [A]."""
    action = self._traced_policy(tf.constant(observation, tf.float32))
    return action.numpy()[0]


class LearningActor(core.Actor):
  """An actor that takes `updates_per_step` learner steps an environment step.

  As `acme.agents.agent.Agent`, but for any ratio, not only whole ones.
  """

  def __init__(
    self,
    actor: core.Actor,
    learner: core.Learner,
    min_observations: int,
    updates_per_step: float,
    first_step: Callable[[], ContextManager] = contextlib.nullcontext,
  ):
    """Initializes the actor.

    Args:
      actor: acts and writes to replay.
      learner: learns.
      min_observations: environment steps before the first learner step.
      updates_per_step: learner steps for each environment step after that.
      first_step: makes the context of the first learner step, which is compiled in it.
    """
    self._actor = actor
    self._learner = learner
    self._num_observations = -min_observations
    self._updates_per_step = updates_per_step
    self._num_updates = 0
    self._first_step = first_step

  def select_action(self, observation):
    return self._actor.select_action(observation)

  def observe_first(self, timestep: dm_env.TimeStep):
    self._actor.observe_first(timestep)

  def observe(self, action, next_timestep: dm_env.TimeStep):
    self._num_observations += 1
    self._actor.observe(action, next_timestep)

  def update(self, wait: bool = False):
    due = int(self._num_observations * self._updates_per_step)
    while self._num_updates < due:
      with contextlib.nullcontext() if self._num_updates else self._first_step():
        self._learner.step()
      self._num_updates += 1
    self._actor.update(wait)
