"""World models to the letter: losses and gradients, and what targets take of them."""

from typing import Dict

import tensorflow as tf


def transition_model(model, targets, latent, reward, next_observation):
  """(s, a) -> (R, s+) of N rows, as `targets` has it, at latents [N, L]."""

  def of_targets(s, a):
    if targets == 'observed':
      return reward, next_observation
    predicted = model.decode(s, a, latent)
    if targets == 'reconstructed':
      return predicted
    observed = (reward, next_observation)
    return tuple(x + tf.stop_gradient(y - x) for x, y in zip(predicted, observed))

  return of_targets


def stage(model, config, batch, noise: tf.Tensor) -> Dict[str, object]:
  """Loss and gradients of a world model; nothing without one.

  f has the gradient of its own squared error. Encoder and decoder have that of the
  negative ELBO, of which f is a part that is not trained.
  """
  if model is None:
    return {}
  s, a = batch.observation, batch.action
  reward, _, next_observation = batch.model_outcome
  outcome = tf.concat([reward[:, tf.newaxis], next_observation], axis=-1)

  def squared_error(predicted_reward, predicted):
    predicted = tf.concat([predicted_reward[:, tf.newaxis], predicted], axis=-1)
    return tf.reduce_mean(tf.reduce_sum((outcome - predicted) ** 2, axis=-1))

  losses, gradients = [], {}

  def differentiate(loss, tape, network):
    losses.append(loss)
    variables = network.trainable_variables
    found = zip(variables, tape.gradient(loss, variables))
    gradients.update({v.ref(): g for v, g in found})

  if config.world_model != 'cvae':
    with tf.GradientTape() as tape:
      mean = model._mean(tf.concat([s, a], axis=-1))
      loss = squared_error(mean[:, 0], s + mean[:, 1:])
    differentiate(loss, tape, model._mean)
  if config.world_model != 'mean':
    with tf.GradientTape(persistent=True) as tape:
      posterior = model.encode(s, a, reward, next_observation)
      mu, sigma = posterior.mean(), posterior.stddev()
      kl = 0.5 * tf.reduce_sum(mu**2 + sigma**2 - 1.0 - tf.math.log(sigma**2), axis=-1)
      loss = squared_error(*model.decode(s, a, mu + sigma * noise))
      loss += config.kl_weight * tf.reduce_mean(kl)
    both = tf.Module()
    both.parts = [model._encoder, model._decoder]
    differentiate(loss, tape, both)
  return {
    'world_model_loss': tf.add_n(losses),
    'world_model': [gradients[v.ref()] for v in model.trainable_variables],
  }
