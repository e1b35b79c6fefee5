"""A step of the agents whose critic is linear in features, points included, the long way.

Every coefficient of every row is differentiated by a tape of its own, backward, in full,
and only then taken along the directions; distances are taken over every pair. Nothing is
shared with the losses or the jacobians of the package: networks are only called.
"""

from typing import Dict

import tensorflow as tf

from tests.reference import algorithm1, world_model


def coefficients(function, observation, action, directions, wrt: str) -> tf.Tensor:
  """Values and derivatives of (s, a) -> [B, 1 + K]: [B, 1 + D, 1 + K].

  Args:
    function: each row by itself.
    observation: [B, S].
    action: [B, A].
    directions: [B, D, X], or None for the X inputs themselves.
    wrt: 'none', 'action' or 'state_action'.
  """
  with tf.GradientTape(persistent=True) as tape:
    tape.watch([observation, action])
    h = tf.unstack(function(observation, action), axis=-1)
  columns = []
  for h_k in h:
    rows = [h_k[:, tf.newaxis]]
    if wrt != 'none':
      inputs = [action] if wrt == 'action' else [observation, action]
      gradient = tf.concat(tape.gradient(h_k, inputs), axis=-1)
      if directions is not None:
        gradient = tf.reduce_sum(directions * gradient[:, tf.newaxis], axis=-1)
      rows.append(gradient)
    columns.append(tf.concat(rows, axis=-1))
  return tf.stack(columns, axis=-1)


def trust(networks, config, batch, latent) -> tf.Tensor:
  """w, [B]."""
  if config.targets != 'anchored' or config.trust == 'none':
    return tf.ones_like(batch.outcome.reward)
  s, next_s = batch.observation, batch.model_outcome.next_observation
  if config.trust == 'mean':
    predicted = s + networks.world_model.mean(s, batch.action)[:, 1:]
  else:
    predicted = networks.world_model.decode(s, batch.action, latent)[1]
  rows = []
  for b in range(s.shape[0]):
    error = tf.norm(next_s[b] - predicted[b]) ** 2
    change = tf.norm(next_s[b] - s[b]) ** 2 + 1e-3
    rows.append(tf.maximum(1.0 - error / change, 0.0) ** 2)
  return tf.stack(rows)


def stages(
  networks, target_policy, target_critic, config, batch, draws: algorithm1.Draws
) -> Dict[str, object]:
  """The same as `algorithm1.stages`; the target is of coefficients, [B, 1 + D, 1 + K].

  Beside it is 'trust', [B], in its gradients.
  """
  s, a = batch.observation, batch.action

  def target(outcome, targets, wrt):
    model = world_model.transition_model(
      networks.world_model, targets, draws.latent, outcome.reward,
      outcome.next_observation,
    )  # fmt: skip

    def of_inputs(s, a):
      reward, next_s = model(s, a)
      h = target_critic(next_s, target_policy(next_s))
      first = tf.one_hot(0, h.shape[-1], dtype=h.dtype)
      return outcome.discount[:, tf.newaxis] * h + reward[:, tf.newaxis] * first

    return coefficients(of_inputs, s, a, draws.directions, wrt)

  observed = config.targets == 'observed'
  outcome = batch.outcome if observed else batch.model_outcome
  y = target(outcome, config.targets, config.sobolev)
  if config.targets == 'anchored':
    y = tf.concat([target(batch.outcome, 'observed', 'none'), y[:, 1:]], axis=1)
  y = tf.stop_gradient(y)
  trusted = tf.stop_gradient(trust(networks, config, batch, draws.latent))
  w = config.sobolev_weight * trusted

  with tf.GradientTape() as tape:
    x = coefficients(networks.critic, s, a, draws.directions, config.sobolev)
    error = (x[..., 0] - y[..., 0]) ** 2
    loss = tf.reduce_mean(error[:, 0] + w * tf.reduce_sum(error[:, 1:], axis=-1))
    if config.critic == 'features':
      root = tf.concat([tf.ones_like(error[:, :1]), *[tf.sqrt(w)[:, tf.newaxis]] * (
        error.shape[1] - 1
      )], axis=-1)  # fmt: skip
      draw = lambda of, phi: tf.stack(
        [root * tf.linalg.matvec(of, tf.stack([row] * of.shape[0])) for row in phi],
        axis=1,
      )
      h = config.multiquadric_h
      samples, target_samples = draw(x, draws.critic), draw(y, draws.target)
      loss += tf.reduce_mean(algorithm1.mmd2(samples, target_samples, h, False)) / h
  result = {
    'target': y,
    'trust': trusted,
    'critic_loss': loss,
    'critic': tape.gradient(loss, networks.critic.trainable_variables),
  }
  with tf.GradientTape() as tape:
    loss = -tf.reduce_mean(networks.critic(s, networks.policy(s))[:, 0])
  result['policy_loss'] = loss
  result['policy'] = tape.gradient(loss, networks.policy.trainable_variables)
  result.update(world_model.stage(networks.world_model, config, batch, draws.model))
  return result
