"""Batches of transitions as the learner computes with them."""

from typing import NamedTuple, Union

import numpy as np
import tensorflow as tf

from acme_dsdpg import config as config_lib
from acme_dsdpg import networks as networks_lib
from acme_dsdpg.losses import sobolev

_Array = Union[np.ndarray, tf.Tensor]


class Outcome(NamedTuple):
  """The outcome of a state and action.

  Attributes:
    reward: [B].
    discount: [B].
    next_observation: [B, S].
  """

  reward: tf.Tensor
  discount: tf.Tensor
  next_observation: tf.Tensor


class Batch(NamedTuple):
  """A batch of transitions with normalised observations.

  Attributes:
    observation: [B, S].
    action: [B, A].
    outcome: of the N steps. Discounts are gamma^N times the environment's.
    model_outcome: of the steps that the world model spans, N or one.
  """

  observation: tf.Tensor
  action: tf.Tensor
  outcome: Outcome
  model_outcome: Outcome


class Window(NamedTuple):
  """N steps in a row, as replay has them.

  Attributes:
    observation: [B, N + 1, S].
    action: [B, N, A].
    reward: [B, N].
    factor: [B, N], gamma times the discount; 1 where the episode is over already.
  """

  observation: _Array
  action: _Array
  reward: _Array
  factor: _Array

  @classmethod
  def of(cls, rows: _Array, observation_size: int) -> 'Window':
    """Takes apart the rows that `adders.RowAdder` writes, [B, N + 1, S + A + 2]."""
    led = rows[:, 1:]
    return cls(
      rows[..., :observation_size], led[..., observation_size:-2], led[..., -2],
      led[..., -1],
    )  # fmt: skip


def prepare(
  window: Window,
  normalizer: networks_lib.Normalizer,
  config: config_lib.DSDPGConfig,
) -> Batch:
  """Computes what the agent learns from, and normalises observations.

  The N-step return is sum_i reward_i prod_{j < i} factor_j.

  Args:
    window: N steps.
    normalizer: of observations.
    config: the agent.
  """
  before = tf.math.cumprod(window.factor, axis=1, exclusive=True)
  n_step = Outcome(
    tf.reduce_sum(before * window.reward, axis=1),
    before[:, -1] * window.factor[:, -1],
    normalizer(window.observation[:, -1]),
  )
  first_step = Outcome(
    window.reward[:, 0], window.factor[:, 0], normalizer(window.observation[:, 1])
  )
  return Batch(
    observation=normalizer(window.observation[:, 0]),
    action=window.action[:, 0],
    outcome=n_step,
    model_outcome=first_step if config.one_step_model else n_step,
  )


def observed(outcome: Outcome) -> sobolev.Model:
  """Makes a model without derivatives: the outcome itself."""
  return lambda observation, action: (outcome.reward, outcome.next_observation)
