"""How far a world model's derivative is to be trusted at an observed transition."""

import tensorflow as tf

# Added to the squared change: where nothing moves, nothing can be explained.
_LEAST_CHANGE = 1e-3


def explained_share(
  observation: tf.Tensor, next_observation: tf.Tensor, prediction: tf.Tensor
) -> tf.Tensor:
  """Computes R^2 = 1 - |s+ - s^|^2 / (|s+ - s|^2 + 0.001) of a step's change.

  1 where the model explains all of it, 0 and less where it explains none.

  Args:
    observation: s [B, S], normalised.
    next_observation: s+ [B, S], one step later.
    prediction: s^ [B, S].

  Returns:
    [B], at most 1.
  """
  squared = lambda x: tf.reduce_sum(tf.square(x), axis=-1)
  change = squared(next_observation - observation) + _LEAST_CHANGE
  return 1.0 - squared(next_observation - prediction) / change


def explained_change(
  observation: tf.Tensor, next_observation: tf.Tensor, prediction: tf.Tensor
) -> tf.Tensor:
  """Computes w = clip(R^2, 0, 1)^2 of `explained_share`: [B], in [0, 1].

  At contacts and falls, which it does not explain, a model's derivative is noise.
  """
  share = explained_share(observation, next_observation, prediction)
  return tf.square(tf.clip_by_value(share, 0.0, 1.0))
