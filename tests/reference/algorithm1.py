"""Algorithm 1 to the letter: what the learner computes, the long way.

M copies of every row go through encoder, decoder, policy and critic, one tape is laid
over all of them, and MMDs are taken over every pair. Nothing is shared with the losses,
the critics' halves or the chunks of the package: networks are only called.
"""

from typing import Callable, Dict, List, NamedTuple, Sequence

import tensorflow as tf

# (observation [N, S], action [N, A], noise [N, K]) -> returns [N].
Function = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]


class Draws(NamedTuple):
  """All that is random in a step.

  Attributes:
    latent: [B, L], drawn from the posterior (without a world model, ignored).
    target: noise [B, M, K] of the target critic's samples, those of all critics.
    critic: noise [B, M, K] of the critic's.
    policy: noise [B, M, K] of the policy's loss.
  """

  latent: tf.Tensor
  target: tf.Tensor
  critic: tf.Tensor
  policy: tf.Tensor


def members(critic) -> List[Function]:
  """Returns the critics of an ensemble, or the one there is, as functions."""
  return [member.__call__ for member in getattr(critic, 'members', [critic])]


def copies(x: tf.Tensor, times: int) -> tf.Tensor:
  """Repeats rows, [B, ...] -> [B * times, ...], the copies of a row beside each other."""
  return tf.repeat(x, times, axis=0)


def returns(
  critics: Sequence[Function],
  observation: tf.Tensor,
  action: tf.Tensor,
  noise: tf.Tensor,
) -> tf.Tensor:
  """Evaluates [B * M] copies: the first M / C of each state by the first critic, ...

  Args:
    critics: C functions.
    observation: [B * M, S].
    action: [B * M, A].
    noise: [B, M, K].
  """
  of_state = lambda rows: tf.reshape(rows, [*noise.shape[:2], rows.shape[-1]])
  share = noise.shape[1] // len(critics)
  z = []
  for c, critic in enumerate(critics):
    part = slice(c * share, (c + 1) * share)
    inputs = [of_state(x)[:, part] for x in (observation, action, noise)]
    flat = [tf.reshape(x, [-1, x.shape[-1]]) for x in inputs]
    z.append(tf.reshape(critic(*flat), [-1, share]))
  return tf.reshape(tf.concat(z, axis=1), [-1])


def sobolev_samples(critics, observation, action, noise, wrt: str) -> tf.Tensor:
  """Samples [z ; dz/ds ; dz/da] at observation [B, S], action [B, A]: [B, M, D]."""
  num_samples = noise.shape[1]
  s, a = copies(observation, num_samples), copies(action, num_samples)
  with tf.GradientTape() as tape:
    tape.watch([s, a])
    z = returns(critics, s, a, noise)
  return _join(z, tape.gradient(z, [s, a]), wrt, num_samples)


def sobolev_target(
  model, policy, critics, observation, action, discount, noise, wrt: str = 'action'
) -> tf.Tensor:
  """Samples of the Sobolev Bellman target (Eqs. 15-18, 24), [B, M, D].

  Args:
    model: (s [B * M, S], a [B * M, A]) -> (reward [B * M], next observation [B * M, S]):
      a latent that it holds has M copies of each row as well.
    policy: [N, S] -> [N, A].
    critics: functions.
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
    z = returns(critics, next_observation, policy(next_observation), noise)
    y = reward + copies(discount, num_samples) * z
  gradients = [None, None] if wrt == 'none' else tape.gradient(y, [s, a])
  return tf.stop_gradient(_join(y, gradients, wrt, num_samples))


def _join(z, gradients, wrt, num_samples):
  blocks = {'none': [], 'action': gradients[1:], 'state_action': gradients}[wrt]
  sample = tf.concat([z[:, tf.newaxis], *blocks], axis=-1)
  return tf.reshape(sample, [-1, num_samples, sample.shape[-1]])


def critic_loss(samples: tf.Tensor, target: tf.Tensor, config) -> tf.Tensor:
  """The loss of one critic's samples [B, M, D] against [B, N, D], mean over states."""
  if config.critic == 'point':
    squared = (samples - target) ** 2
    weights = [1.0, *[config.sobolev_weight] * (samples.shape[-1] - 1)]
    return tf.reduce_mean(squared @ tf.constant(weights, samples.dtype)[:, tf.newaxis])

  scales = [1.0, *[config.gradient_scale] * (samples.shape[-1] - 1)]

  def kernel(x, y):
    difference = (x - y) * tf.constant(scales, x.dtype)
    distance = tf.reduce_sum(difference**2, axis=-1)
    value = -tf.sqrt(1.0 + config.multiquadric_h**2 * distance)
    return value + config.linear_return_weight * x[..., 0] * y[..., 0]

  def mean_of_pairs(x, y, distinct):
    pairs = [
      kernel(x[:, i], y[:, j])
      for i in range(x.shape[1])
      for j in range(y.shape[1])
      if not distinct or i != j
    ]
    return tf.reduce_mean(pairs, axis=0)

  return tf.reduce_mean(
    mean_of_pairs(samples, samples, config.unbiased_mmd)
    + mean_of_pairs(target, target, config.unbiased_mmd)
    - 2.0 * mean_of_pairs(samples, target, False)
  )


def stages(
  networks, target_policy, target_critic, config, batch, draws: Draws
) -> Dict[str, object]:
  """The target, and loss and gradients of critic and policy, of one learner step.

  Args:
    networks: online.
    target_policy: a network.
    target_critic: a network.
    config: the agent's.
    batch: `learning.Batch`.
    draws: what the learner draws.

  Returns:
    'target' [B, M, D], 'critic_loss', 'critic' (gradients), 'policy_loss', 'policy'.
  """
  times = draws.target.shape[1]
  latent = copies(draws.latent, times)
  outcome = batch.model_outcome
  observed = (copies(outcome.reward, times), copies(outcome.next_observation, times))

  def model(s, a):
    if config.targets == 'observed':
      return observed
    reward, next_observation = networks.world_model.decode(s, a, latent)
    if config.targets == 'reconstructed':
      return reward, next_observation
    return tuple(
      x + tf.stop_gradient(y - x) for x, y in zip((reward, next_observation), observed)
    )

  arguments = (target_policy, members(target_critic), batch.observation, batch.action)
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

  critics = members(networks.critic)
  with tf.GradientTape() as tape:
    samples = sobolev_samples(
      critics, batch.observation, batch.action, draws.critic, config.sobolev
    )
    parts = tf.split(samples, config.num_critics, axis=1)
    loss = tf.reduce_mean([critic_loss(part, target, config) for part in parts])
  result = {
    'target': target,
    'critic_loss': loss,
    'critic': tape.gradient(loss, networks.critic.trainable_variables),
  }
  with tf.GradientTape() as tape:
    s = copies(batch.observation, draws.policy.shape[1])
    policy_loss = -tf.reduce_mean(returns(critics, s, networks.policy(s), draws.policy))
  result['policy_loss'] = policy_loss
  result['policy'] = tape.gradient(policy_loss, networks.policy.trainable_variables)
  return result
