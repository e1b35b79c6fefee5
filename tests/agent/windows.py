"""Windows of replay's rows, random or put together from their parts."""

import itertools

import numpy as np
import reverb
import tensorflow as tf


def pack(observation, action, reward, factor):
  """Rows [B, N + 1, S + A + 2] from observations [B, N + 1, S], actions [B, N, A], ...

  What the first row says of the step before is never looked at: 0.
  """
  led = np.concatenate([action, np.stack([reward, factor], axis=-1)], axis=-1)
  led = np.pad(led, [[0, 0], [1, 0], [0, 0]])
  return np.concatenate([observation, led], axis=-1)


def draw(seed, batch_size, n_step, observation_size, action_size, discount):
  """Random rows float64; episodes end, halve and go on."""
  rng = np.random.default_rng(seed)
  return pack(
    2.0 + 3.0 * rng.normal(size=(batch_size, n_step + 1, observation_size)),
    rng.uniform(-1.0, 1.0, size=(batch_size, n_step, action_size)),
    rng.normal(size=(batch_size, n_step)),
    discount * np.resize([0.0, 0.5, 1.0, 1.0, 1.0, 1.0, 1.0], (batch_size, n_step)),
  )


def samples(blocks):
  """What the learner iterates over, from its blocks [K, B, N + 1, S + A + 2]."""
  return (
    reverb.ReplaySample(info=None, data=tf.constant(block, tf.float32))
    for block in blocks
  )


def single(batches):
  """Blocks of one batch each, again and again."""
  return samples(batch[np.newaxis] for batch in itertools.cycle(batches))
