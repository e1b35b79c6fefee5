"""Optimizers, and slots created before a compiled step or a checkpoint needs them."""

from typing import Sequence

import sonnet as snt
import tensorflow as tf
import tensorflow_addons as tfa

_BETAS = dict(beta_1=0.9, beta_2=0.999)  # A.8, all networks.


def rectified_adam(learning_rate: float, **betas: float) -> tf.keras.optimizers.Optimizer:
  """Makes Rectified Adam (Liu et al., 2020), as A.8 has it for policy and critic."""
  return tfa.optimizers.RectifiedAdam(learning_rate, **{**_BETAS, **betas})


def adam(learning_rate: float) -> tf.keras.optimizers.Optimizer:
  """Makes Adam, as A.8 has it for the world model."""
  return tf.keras.optimizers.Adam(learning_rate, **_BETAS)


def create_slots(
  optimizer: tf.keras.optimizers.Optimizer, variables: Sequence[tf.Variable]
):
  """Creates a Keras optimizer's slots, which it otherwise does at its first step.

  XLA can create no variables, and a restored checkpoint needs the slots. Keras offers
  no public way.
  """
  optimizer._create_all_weights(variables)


def create_sonnet_slots(optimizer: snt.Optimizer, variables: Sequence[tf.Variable]):
  """Creates a Sonnet optimizer's slots; Sonnet offers no public way either."""
  optimizer._initialize(variables)
