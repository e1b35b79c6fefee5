"""How far a world model's derivative is to be trusted at an observed transition."""

import tensorflow as tf

# Added to the squared change: where nothing moves, nothing can be explained.
_LEAST_CHANGE = 1e-3


def explained_change(
  observation: tf.Tensor, next_observation: tf.Tensor, prediction: tf.Tensor
) -> tf.Tensor:
  """Computes w = clip(1 - |s+ - s^|^2 / (|s+ - s|^2 + 0.001), 0, 1)^2.

  1 where the model explains all of the change, 0 where it explains none of it: at
  contacts and falls its derivative is noise.

  Args:
    observation: s [B, S], normalised.
    next_observation: s+ [B, S], one step later.
    prediction: s^ [B, S].

  Returns:
    [B], in [0, 1].
  """
  squared = lambda x: tf.reduce_sum(tf.square(x), axis=-1)
  change = squared(next_observation - observation) + _LEAST_CHANGE
  unexplained = squared(next_observation - prediction) / change
  return tf.square(tf.clip_by_value(1.0 - unexplained, 0.0, 1.0))


def typicality(divergence: tf.Tensor) -> tf.Tensor:
  """Computes clip(mean of the KL / KL, 0, 1)^2 of latents' posteriors.

  Noise takes about as much of the latent at every transition, a contact far more than
  the others do.

  Args:
    divergence: KL of each transition's posterior to the prior, [B].

  Returns:
    [B], in [0, 1].
  """
  typical = (tf.reduce_mean(divergence) + 1e-3) / (divergence + 1e-3)
  return tf.square(tf.clip_by_value(typical, 0.0, 1.0))
