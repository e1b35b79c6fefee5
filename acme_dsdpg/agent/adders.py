"""Adders: extra fields stored with each transition, and dropped episodes."""

from typing import Callable, NamedTuple

from acme import adders, specs
import dm_env
import numpy as np
import reverb


class Outcome(NamedTuple):
  """The outcome of a state and action: arrays, tensors or specs.

  Attributes:
    reward: [...].
    discount: [...].
    next_observation: [..., S].
  """

  reward: np.ndarray
  discount: np.ndarray
  next_observation: np.ndarray


def first_step_spec(environment_spec: specs.EnvironmentSpec) -> Outcome:
  """Returns the spec of the extra fields that `FirstStepAdder` stores."""
  return Outcome(
    environment_spec.rewards, environment_spec.discounts, environment_spec.observations
  )


class WriterClient:
  """A Reverb client as Acme 0.4's adders call it.

  They pass `get_signature_timeout_ms`, which Reverb has no longer since 0.8.
  """

  def __init__(self, client: reverb.Client):
    self._client = client

  def trajectory_writer(self, num_keep_alive_refs: int, get_signature_timeout_ms: int):
    """Makes a writer; the timeout is ignored."""
    del get_signature_timeout_ms
    return self._client.trajectory_writer(num_keep_alive_refs)


class FirstStepAdder(adders.Adder):
  """Stores with each N-step transition the outcome of its first step, as `extras`."""

  def __init__(self, adder: adders.Adder):
    self._adder = adder

  def reset(self):
    self._adder.reset()

  def add_first(self, timestep: dm_env.TimeStep):
    self._adder.add_first(timestep)

  def add(self, action, next_timestep: dm_env.TimeStep, extras=()):
    del extras
    outcome = Outcome(
      next_timestep.reward, next_timestep.discount, next_timestep.observation
    )
    self._adder.add(action, next_timestep, outcome)


class ReplaceableAdder(adders.Adder):
  """An adder whose `reset` drops the current episode, wherever in it a fault came.

  Acme's own keeps a step that was begun, and fails on the next episode.
  """

  def __init__(self, make_adder: Callable[[], adders.Adder]):
    self._make_adder = make_adder
    self._adder = make_adder()

  def reset(self):
    # The old one sends what it had completed when it is deleted.
    self._adder = self._make_adder()

  def add_first(self, timestep: dm_env.TimeStep):
    self._adder.add_first(timestep)

  def add(self, action, next_timestep: dm_env.TimeStep, extras=()):
    self._adder.add(action, next_timestep, extras)
