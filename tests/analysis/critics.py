"""Critics of closed form."""

import tensorflow as tf

from acme_dsdpg import networks as networks_lib


class NoisyCritic(networks_lib.FunctionCritic):
  """A function (s [N, S], a [N, A], noise [N, 1]) -> [N] as the paper's critic."""

  def draw_noise(self, seed, batch_size, num_samples):
    return tf.random.stateless_normal([batch_size, num_samples, 1], seed)
