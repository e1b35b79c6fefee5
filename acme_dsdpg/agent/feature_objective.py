"""The objective of critics that are linear in features of their noise, points included.

Squared error of mean return and mean gradient, and the energy distance between joint
samples of both (`losses.directional`).
"""

from typing import NamedTuple, Optional, Tuple

import tensorflow as tf

from acme_dsdpg import config as config_lib
from acme_dsdpg import networks as networks_lib
from acme_dsdpg.agent import batches, objective
from acme_dsdpg.agent import metrics as metrics_lib
from acme_dsdpg.agent.batches import Batch
from acme_dsdpg.losses import directional, mmd, trust


class Target(NamedTuple):
  """What the critic learns from a batch.

  Attributes:
    coefficients: [B, 1 + D, 1 + K].
    directions: [B, D, X], or None.
    trust: [B] in [0, 1], weight of each transition's gradient.
  """

  coefficients: tf.Tensor
  directions: Optional[tf.Tensor]
  trust: tf.Tensor


class FeatureObjective(objective.Objective):
  """Values observed over N steps, gradients through the world model, weighed by trust."""

  def bellman_target(self, batch: Batch, seeds: objective.Seeds) -> Target:
    """Computes the target's coefficients (Eqs. 15-18).

    Anchored targets have the return of the N steps and the gradient of the first.
    """
    config = self._config
    weight = tf.ones_like(batch.outcome.reward)
    if config.targets == 'observed':
      model = batches.observed(batch.outcome)
      return Target(self._target(batch, model, batch.outcome.discount), None, weight)
    latent = objective.infer_latent(self._networks.world_model, batch, seeds.latent)
    model = objective.transition_model(config, self._networks.world_model, batch, latent)
    directions = self._directions(batch, seeds.directions)
    wrt = config.sobolev
    coefficients = self._target(
      batch, model, batch.model_outcome.discount, directions, wrt
    )
    if config.targets == 'anchored':
      observed = batches.observed(batch.outcome)
      value = self._target(batch, observed, batch.outcome.discount)
      coefficients = tf.concat([value, coefficients[:, 1:]], axis=1)
      weight = transition_trust(config, self._networks.world_model, batch, latent)
    return Target(coefficients, directions, weight)

  def critic_update(
    self, batch: Batch, target: Target, seeds: objective.Seeds
  ) -> objective.Update:
    """Computes squared error and energy distance, means over the batch."""
    config, critic = self._config, self._networks.critic
    weight = config.sobolev_weight * target.trust
    with tf.GradientTape() as tape:
      coefficients = directional.sobolev_coefficients(
        critic, batch.observation, batch.action, target.directions, config.sobolev
      )
      loss = directional.weighted_squared_error(coefficients, target.coefficients, weight)
      samples, target_samples = self._samples(coefficients, target.coefficients, seeds)
      if critic.num_features:
        weighed = (
          directional.weigh_gradients(x, weight) for x in (samples, target_samples)
        )
        loss += mmd.mmd2(*weighed, self._kernel) / config.multiquadric_h
      loss = tf.reduce_mean(loss)
    metrics = {
      'critic_loss': loss,
      **metrics_lib.sample_metrics(samples, target_samples),
    }
    if config.targets == 'anchored':
      metrics['trust'] = tf.reduce_mean(target.trust)
    return objective.Update(tape.gradient(loss, critic.trainable_variables), metrics)

  def policy_update(self, batch: Batch, seeds: objective.Seeds) -> objective.Update:
    """Computes minus the mean return of the policy's actions, without any noise."""
    del seeds
    policy = self._networks.policy
    with tf.GradientTape() as tape:
      h = self._networks.critic.coefficients(batch.observation, policy(batch.observation))
      loss = -tf.reduce_mean(h[:, 0])
    gradients = tape.gradient(loss, policy.trainable_variables)
    return objective.Update(gradients, {'policy_loss': loss})

  def _target(self, batch, model, discount, directions=None, wrt='none') -> tf.Tensor:
    return directional.target_coefficients(
      model,
      self._target_policy,
      self._target_critic,
      batch.observation,
      batch.action,
      discount,
      directions,
      wrt,
    )

  def _directions(self, batch: Batch, seed: tf.Tensor) -> Optional[tf.Tensor]:
    config = self._config
    if config.sobolev == 'none' or not config.num_directions:
      return None
    batch_size, size = batch.action.shape
    if config.sobolev == 'state_action':
      size += batch.observation.shape[-1]
    return directional.random_directions(
      seed, batch_size, config.num_directions, size, batch.action.dtype
    )

  def _samples(
    self, coefficients: tf.Tensor, target: tf.Tensor, seeds: objective.Seeds
  ) -> Tuple[tf.Tensor, tf.Tensor]:
    """Draws samples of both, [B, M, 1 + D] each; of points, the point."""
    critic = self._networks.critic
    num_samples = self._config.num_samples if critic.num_features else 1
    batch_size = coefficients.shape[0]
    draw = lambda seed: critic.draw_noise(seed, batch_size, num_samples)
    return (
      directional.samples(coefficients, draw(seeds.critic)),
      directional.samples(target, draw(seeds.target)),
    )


def transition_trust(
  config: config_lib.DSDPGConfig,
  model: networks_lib.WorldModel,
  batch: Batch,
  latent: tf.Tensor,
) -> tf.Tensor:
  """Computes the trust in the model's derivatives at the observed steps.

  Args:
    config: the agent, whose `trust` says which.
    model: the world model, of one step.
    batch: of transitions.
    latent: inferred, [B, L].

  Returns:
    [B] in [0, 1], a constant.
  """
  if config.trust == 'none':
    return tf.ones_like(batch.model_outcome.reward)
  outcome = batch.model_outcome
  weight = trust.explained_change(
    batch.observation,
    outcome.next_observation,
    trusted_prediction(config, model, batch, latent),
  )
  return tf.stop_gradient(weight)


def trusted_prediction(
  config: config_lib.DSDPGConfig,
  model: networks_lib.WorldModel,
  batch: Batch,
  latent: tf.Tensor,
) -> tf.Tensor:
  """Computes the prediction of s+ that the trust goes by, [B, S], as above."""
  if config.trust == 'mean':
    return batch.observation + model.mean(batch.observation, batch.action)[:, 1:]
  return model.decode(batch.observation, batch.action, latent)[1]
