"""Batches of transitions as the learner computes with them."""

from typing import Mapping, NamedTuple

from acme import types
import numpy as np
import tensorflow as tf

from acme_dsdpg import config as config_lib
from acme_dsdpg import networks as networks_lib
from acme_dsdpg.agent import adders as agent_adders
from acme_dsdpg.losses import sobolev


class Batch(NamedTuple):
  """A batch of transitions with normalised observations.

  Attributes:
    observation: [B, S].
    action: [B, A].
    outcome: of the N steps. Discounts are gamma times the transition's.
    model_outcome: of the steps that the world model spans, N or one.
  """

  observation: tf.Tensor
  action: tf.Tensor
  outcome: agent_adders.Outcome
  model_outcome: agent_adders.Outcome


def prepare(
  transition: types.Transition,
  normalizer: networks_lib.Normalizer,
  config: config_lib.DSDPGConfig,
) -> Batch:
  """Normalises a replayed batch, and applies the discount that the adder leaves out.

  Args:
    transition: raw observations; `extras` is the first step's outcome where the world
      model spans one step.
    normalizer: of observations.
    config: the agent.
  """

  def outcome(of) -> agent_adders.Outcome:
    # NStepTransitionAdder's discount is gamma^(n-1) times the environment's.
    return agent_adders.Outcome(
      of.reward, config.discount * of.discount, normalizer(of.next_observation)
    )

  n_step = outcome(transition)
  return Batch(
    observation=normalizer(transition.observation),
    action=transition.action,
    outcome=n_step,
    model_outcome=outcome(transition.extras) if config.one_step_model else n_step,
  )


def observed(outcome: agent_adders.Outcome) -> sobolev.Model:
  """Makes a model without derivatives: the outcome itself."""
  return lambda observation, action: (outcome.reward, outcome.next_observation)


def named_arrays(transition: types.Transition) -> Mapping[str, np.ndarray]:
  """Returns the arrays of a replayed batch by field, for a file."""
  fields = {
    name: value for name, value in transition._asdict().items() if name != 'extras'
  }
  if isinstance(transition.extras, tuple) and transition.extras:
    outcome = agent_adders.Outcome(*transition.extras)
    fields.update({f'first_step_{k}': v for k, v in outcome._asdict().items()})
  return {name: np.asarray(value) for name, value in fields.items()}
