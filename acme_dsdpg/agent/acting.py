"""The actor."""

from typing import Optional

from acme import adders
from acme.agents.tf import actors
from acme.tf import variable_utils
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
    """[S] float32 to [A]."""
    action = self._traced_policy(tf.constant(observation, tf.float32))
    return action.numpy()[0]
