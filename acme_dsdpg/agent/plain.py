"""Algorithm 1 to the letter: what the learner computes, the long way.

M copies of every row go through encoder, decoder, policy and critic. The reference
of tests and benchmarks; nothing else uses it.
"""

import types

import tensorflow as tf
import tensorflow_probability as tfp

from acme_dsdpg.agent import learning
from acme_dsdpg.losses import sobolev

tfd = tfp.distributions


class PlainLearner(learning.DSDPGLearner):
  """`DSDPGLearner` in its plain form: same seeds, same losses, same gradients."""

  @property
  def _critic(self) -> sobolev.Critic:
    # Functions: without `embed`, so given M copies of each state and action.
    members = sobolev.members_of(self._networks.critic)
    return types.SimpleNamespace(members=[member.__call__ for member in members])

  def _chunk_size(self, noise: tf.Tensor) -> int:
    return noise.shape[0]

  _sobolev_target = staticmethod(sobolev.plain_sobolev_target)

  def _model_rows(self, batch: learning.Batch) -> learning.Batch:
    return tf.nest.map_structure(lambda x: tf.repeat(x, self._num_samples, axis=0), batch)

  def _latent(self, batch: learning.Batch, seed: tf.Tensor) -> tf.Tensor:
    posterior = self._networks.world_model.encode(*learning.encoder_inputs(batch))
    # The copies of a row share one draw, the one that the learner makes.
    num_rows = batch.action.shape[0] // self._num_samples
    zeros = tf.zeros([num_rows, posterior.event_shape[0]], batch.action.dtype)
    standard = tfd.Independent(tfd.Normal(zeros, zeros + 1.0), 1).sample(seed=seed)
    standard = tf.repeat(standard, self._num_samples, axis=0)
    return posterior.mean() + posterior.stddev() * standard

  def _policy_loss(self, observation: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
    copies = sobolev.repeat_rows(observation, noise.shape[1])
    action = self._networks.policy(copies)
    return -tf.reduce_mean(sobolev.plain_returns(self._critic, copies, action, noise))
