"""Algorithm 1 to the letter: what the learner computes, the long way.

M copies of every row go through encoder, decoder, policy and critic. The reference
of tests and benchmarks; nothing else uses it.
"""

import tensorflow as tf
import tensorflow_probability as tfp

from acme_dsdpg import learning
from acme_dsdpg.losses import dpg, sobolev

tfd = tfp.distributions


class PlainLearner(learning.DSDPGLearner):
  """`DSDPGLearner` in its plain form: same seeds, same losses, same gradients."""

  @property
  def _critic(self) -> sobolev.Critic:
    # A function: without `embed`, so given M copies of each state and action.
    return lambda observation, action, noise: self._networks.critic(
      observation, action, noise
    )

  def _chunk_size(self, noise: tf.Tensor) -> int:
    return noise.shape[0]

  def _bellman_target(self, batch: learning.Batch, seeds) -> tf.Tensor:
    num_samples = self._num_samples
    noise = self._noise(batch, num_samples, seeds.target)

    def target(model, discount, wrt):
      return sobolev.plain_sobolev_target(
        model,
        self._target_policy,
        self._target_critic,
        batch.observation,
        batch.action,
        discount,
        noise,
        wrt,
      )

    copies = tf.nest.map_structure(lambda x: tf.repeat(x, num_samples, axis=0), batch)
    model = self._transition_model(copies, seeds.latent)
    result = target(model, batch.model_outcome.discount, self._config.sobolev)
    if self._config.one_step_model:
      returns = target(learning.observed(copies.outcome), batch.outcome.discount, 'none')
      result = tf.concat([returns, result[..., 1:]], axis=-1)
    return result

  def _latent(self, batch: learning.Batch, seed: tf.Tensor) -> tf.Tensor:
    posterior = self._networks.world_model.encode(*learning.encoder_inputs(batch))
    # The copies of a row share one draw, the one that the learner makes.
    num_rows = batch.action.shape[0] // self._num_samples
    zeros = tf.zeros([num_rows, posterior.event_shape[0]], batch.action.dtype)
    standard = tfd.Independent(tfd.Normal(zeros, zeros + 1.0), 1).sample(seed=seed)
    standard = tf.repeat(standard, self._num_samples, axis=0)
    return posterior.mean() + posterior.stddev() * standard

  def _policy_loss(self, observation: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
    num_samples = noise.shape[1]
    copies = sobolev.repeat_rows(observation, num_samples)
    noise = tf.reshape(noise, [copies.shape[0], 1, noise.shape[-1]])
    return dpg.policy_loss(self._networks.policy, self._critic, copies, noise)
