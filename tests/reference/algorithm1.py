"""Algorithm 1 to the letter, for the paper's critic: a learner step, the long way.

M copies of every row go through encoder, decoder, policy and critic, one tape is laid
over all of them, and MMDs are taken over every pair. Nothing is shared with the losses,
the critic's halves or the chunks of the package: networks are only called.
"""

from typing import Callable, Dict, NamedTuple, Optional

import tensorflow as tf

from tests.reference import world_model

# (observation [N, S], action [N, A], noise [N, K]) -> returns [N].
Function = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]


class Draws(NamedTuple):
  """All that is random in a step.

  Attributes:
    model: standard normal noise of the posterior in the world model's loss, [B, L].
    latent: of the targets, drawn from the posterior, [B, L].
    target: noise [B, M, K] of the target critic's samples; features [M, 1 + K].
    critic: the same, of the critic's.
    policy: noise [B, M, K] of the policy's loss.
    directions: of the gradients, [B, D, X]; None for all of them.
  """

  model: tf.Tensor
  latent: tf.Tensor
  target: tf.Tensor
  critic: tf.Tensor
  policy: Optional[tf.Tensor] = None
  directions: Optional[tf.Tensor] = None


def copies(x: tf.Tensor, times: int) -> tf.Tensor:
  """Repeats rows, [B, ...] -> [B * times, ...], the copies of a row beside each other."""
  return tf.repeat(x, times, axis=0)


def _flat(noise: tf.Tensor) -> tf.Tensor:
  """Noise [B, M, K] of B * M copies."""
  return tf.reshape(noise, [-1, noise.shape[-1]])


def sobolev_samples(critic, observation, action, noise, wrt: str) -> tf.Tensor:
  """Samples [z ; dz/ds ; dz/da] at observation [B, S], action [B, A]: [B, M, D]."""
  num_samples = noise.shape[1]
  s, a = copies(observation, num_samples), copies(action, num_samples)
  with tf.GradientTape() as tape:
    tape.watch([s, a])
    z = critic(s, a, _flat(noise))
  return _join(z, tape.gradient(z, [s, a]), wrt, num_samples)


def sobolev_target(
  model, policy, critic, observation, action, discount, noise, wrt: str = 'action'
) -> tf.Tensor:
  """Samples of the Sobolev Bellman target (Eqs. 15-18, 24), [B, M, D].

  Args:
    model: (s [B * M, S], a [B * M, A]) -> (reward [B * M], next observation [B * M, S]):
      a latent that it holds has M copies of each row as well.
    policy: [N, S] -> [N, A].
    critic: a function.
    observation: [B, S].
    action: [B, A].
    discount: [B].
    noise: [B, M, K].
    wrt: 'none', 'action' or 'state_action'.
  """
  num_samples = noise.shape[1]
  s, a = copies(observation, num_samples), copies(action, num_samples)
  with tf.GradientTape() as tape:
    tape.watch([s, a])
    reward, next_observation = model(s, a)
    z = critic(next_observation, policy(next_observation), _flat(noise))
    y = reward + copies(discount, num_samples) * z
  gradients = [None, None] if wrt == 'none' else tape.gradient(y, [s, a])
  return tf.stop_gradient(_join(y, gradients, wrt, num_samples))


def _join(z, gradients, wrt, num_samples):
  blocks = {'none': [], 'action': gradients[1:], 'state_action': gradients}[wrt]
  sample = tf.concat([z[:, tf.newaxis], *blocks], axis=-1)
  return tf.reshape(sample, [-1, num_samples, sample.shape[-1]])


def mmd2(samples: tf.Tensor, target: tf.Tensor, h: float, unbiased: bool) -> tf.Tensor:
  """MMD^2 of samples [B, M, D] and [B, N, D] under the multiquadric, [B]."""

  def mean_of_pairs(x, y, distinct):
    pairs = [
      -tf.sqrt(1.0 + h**2 * tf.reduce_sum((x[:, i] - y[:, j]) ** 2, axis=-1))
      for i in range(x.shape[1])
      for j in range(y.shape[1])
      if not distinct or i != j
    ]
    return tf.reduce_mean(pairs, axis=0)

  return (
    mean_of_pairs(samples, samples, unbiased)
    + mean_of_pairs(target, target, unbiased)
    - 2.0 * mean_of_pairs(samples, target, False)
  )


def stages(
  networks, target_policy, target_critic, config, batch, draws: Draws
) -> Dict[str, object]:
  """The target, and loss and gradients of each network, of one learner step.

  Args:
    networks: online.
    target_policy: a network.
    target_critic: a network.
    config: the agent's.
    batch: `batches.Batch`.
    draws: what the learner draws.

  Returns:
    'target' [B, M, D]; of each of 'critic', 'policy' and, if there is one,
    'world_model' its gradients, and under '..._loss' its loss.
  """
  times = draws.target.shape[1]
  outcome = batch.model_outcome
  model = world_model.transition_model(
    networks.world_model,
    config.targets,
    copies(draws.latent, times),
    copies(outcome.reward, times),
    copies(outcome.next_observation, times),
  )
  arguments = (target_policy, target_critic, batch.observation, batch.action)
  target = sobolev_target(
    model, *arguments, outcome.discount, draws.target, config.sobolev
  )
  if config.targets == 'anchored':
    n_step = (
      copies(batch.outcome.reward, times),
      copies(batch.outcome.next_observation, times),
    )
    values = sobolev_target(
      lambda s, a: n_step, *arguments, batch.outcome.discount, draws.target, 'none'
    )
    target = tf.concat([values, target[..., 1:]], axis=-1)

  critic = networks.critic
  with tf.GradientTape() as tape:
    samples = sobolev_samples(
      critic, batch.observation, batch.action, draws.critic, config.sobolev
    )
    each = mmd2(samples, target, config.multiquadric_h, config.unbiased_mmd)
    loss = tf.reduce_mean(each)
  result = {
    'target': target,
    'critic_loss': loss,
    'critic': tape.gradient(loss, critic.trainable_variables),
  }
  with tf.GradientTape() as tape:
    s = copies(batch.observation, draws.policy.shape[1])
    policy_loss = -tf.reduce_mean(critic(s, networks.policy(s), _flat(draws.policy)))
  result['policy_loss'] = policy_loss
  result['policy'] = tape.gradient(policy_loss, networks.policy.trainable_variables)
  result.update(world_model.stage(networks.world_model, config, batch, draws.model))
  return result
