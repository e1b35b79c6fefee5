"""Actors: one that acts, and one that learns as it acts."""

import contextlib
from typing import Callable, ContextManager, Optional

from acme import adders, core
from acme.tf import variable_utils
import dm_env
import numpy as np

from acme_dsdpg.agent import policies


class FeedForwardActor(core.Actor):
  """Acts by a policy in NumPy, as Acme's FeedForwardActor does by one in TensorFlow."""

  def __init__(
    self,
    policy: policies.BehaviorPolicy,
    adder: Optional[adders.Adder] = None,
    variable_client: Optional['VariableClient'] = None,
  ):
    """Initializes the actor.

    Args:
      policy: refreshed when an episode begins, and whenever its weights may have changed.
      adder: None writes nothing.
      variable_client: pulls the policy's weights; None leaves them to others.
    """
    self._policy = policy
    self._adder = adder
    self._client = variable_client

  def select_action(self, observation: np.ndarray) -> np.ndarray:
    return self._policy(observation)

  def observe_first(self, timestep: dm_env.TimeStep):
    self._policy.refresh()
    if self._adder is not None:
      self._adder.add_first(timestep)

  def observe(self, action: np.ndarray, next_timestep: dm_env.TimeStep):
    if self._adder is not None:
      self._adder.add(action, next_timestep)

  def update(self, wait: bool = False):
    if self._client is None or self._client.pull(wait):
      self._policy.refresh()


class VariableClient(variable_utils.VariableClient):
  """Acme's VariableClient, which says when it has assigned weights."""

  _has_assigned = False

  def pull(self, wait: bool) -> bool:
    """Updates as `update` does; returns whether there were new weights."""
    self._has_assigned = False
    self.update(wait)
    return self._has_assigned

  def _copy(self, new_variables):
    super()._copy(new_variables)
    self._has_assigned = True


class LearningActor(core.Actor):
  """An actor that takes `updates_per_step` learner steps an environment step.

  As `acme.agents.agent.Agent`, but for any ratio, and for a learner that takes several
  steps at a time: it is called as soon as so many are due.
  """

  def __init__(
    self,
    actor: core.Actor,
    learner: core.Learner,
    updates_per_step: float,
    updates_per_call: int,
    num_observations: int,
    num_updates: int = 0,
    first_call: Callable[[], ContextManager] = contextlib.nullcontext,
  ):
    """Initializes the actor.

    Args:
      actor: acts and writes to replay.
      learner: learns.
      updates_per_step: learner steps for each environment step.
      updates_per_call: of the learner, each time that it is called.
      num_observations: environment steps taken before, less those before learning.
      num_updates: learner steps taken before. What another ratio has left due, or taken
        too early, is forgotten.
      first_call: makes the context of the learner's first call, which compiles it.
    """
    self._actor = actor
    self._learner = learner
    self._updates_per_step = updates_per_step
    self._updates_per_call = updates_per_call
    self._num_observations = num_observations
    due = max(0, self._num_due())
    self._num_updates = min(max(num_updates, due - updates_per_call + 1), due)
    self._call = first_call

  def select_action(self, observation):
    return self._actor.select_action(observation)

  def observe_first(self, timestep: dm_env.TimeStep):
    self._actor.observe_first(timestep)

  def observe(self, action, next_timestep: dm_env.TimeStep):
    self._num_observations += 1
    self._actor.observe(action, next_timestep)

  def update(self, wait: bool = False):
    while self._num_due() - self._num_updates >= self._updates_per_call:
      with self._call():
        self._learner.step()
      self._call = contextlib.nullcontext
      self._num_updates += self._updates_per_call
      self._actor.update(wait)

  def _num_due(self) -> int:
    return int(self._num_observations * self._updates_per_step)
