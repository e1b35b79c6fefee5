"""The objective of the paper's critic: MMD between Sobolev samples (Alg. 1)."""

import tensorflow as tf

from acme_dsdpg.agent import batches, objective
from acme_dsdpg.agent import metrics as metrics_lib
from acme_dsdpg.agent.batches import Batch
from acme_dsdpg.losses import chunks, dpg, mmd, sobolev


class SampledObjective(objective.Objective):
  """M samples of noise at the critic's input, nested tapes, and MMD (Eqs. 15-22).

  Rectified Adam's first five steps are as long as the gradient, and the multiquadric's
  slope grows with h: what is differentiated is divided by h, or it would wreck the
  initial weights.
  """

  def bellman_target(self, batch: Batch, seeds: objective.Seeds) -> tf.Tensor:
    """Draws Sobolev samples of the target, [B, M, D] (Eqs. 15-18).

    Anchored targets have the return of the N steps and the gradient of the first.
    """
    config = self._config
    noise = self._noise(batch, seeds.target)

    def target(model, discount, wrt):
      return sobolev.sobolev_target(
        model,
        self._target_policy,
        self._target_critic,
        batch.observation,
        batch.action,
        discount,
        noise,
        wrt,
      )

    model, latent = self._networks.world_model, None
    if model is not None:
      latent = objective.infer_latent(model, batch, seeds.latent)
    model = objective.transition_model(config, model, batch, latent)
    result = target(model, batch.model_outcome.discount, config.sobolev)
    if config.targets == 'anchored':
      returns = target(batches.observed(batch.outcome), batch.outcome.discount, 'none')
      result = tf.concat([returns, result[..., 1:]], axis=-1)
    return result

  def critic_update(
    self, batch: Batch, target: tf.Tensor, seeds: objective.Seeds
  ) -> objective.Update:
    """Computes the mean MMD^2 of the critic's samples to the target's, [B, M, D]."""
    config, critic = self._config, self._networks.critic

    def of_states(observation, action, noise, target):
      with tf.GradientTape() as tape:
        samples = sobolev.sobolev_samples(
          critic, observation, action, noise, config.sobolev
        )
        each = mmd.mmd2(samples, target, self._kernel, config.unbiased_mmd)
        loss = tf.reduce_mean(each)
        scaled = loss / config.multiquadric_h
      metrics = {'critic_loss': loss, **metrics_lib.sample_metrics(samples, target)}
      return objective.Update(tape.gradient(scaled, critic.trainable_variables), metrics)

    noise = self._noise(batch, seeds.critic)
    return chunks.mean_over_chunks(
      of_states,
      (batch.observation, batch.action, noise, target),
      chunks.chunk_size(*noise.shape[:2]),
    )

  def policy_update(self, batch: Batch, seeds: objective.Seeds) -> objective.Update:
    """Computes minus the mean sampled return of the policy's actions (Eq. 8)."""
    policy, critic = self._networks.policy, self._networks.critic

    def of_states(observation, noise):
      with tf.GradientTape() as tape:
        loss = dpg.policy_loss(policy, critic, observation, noise)
      gradients = tape.gradient(loss, policy.trainable_variables)
      return objective.Update(gradients, {'policy_loss': loss})

    noise = self._noise(batch, seeds.policy)
    return chunks.mean_over_chunks(
      of_states, (batch.observation, noise), chunks.chunk_size(*noise.shape[:2])
    )

  def _noise(self, batch: Batch, seed: tf.Tensor) -> tf.Tensor:
    """Draws xi ~ N(0, I_K), [B, M, K]."""
    critic, num_samples = self._networks.critic, self._config.num_samples
    return critic.draw_noise(seed, batch.action.shape[0], num_samples)
