"""Sobolev samples of a critic and their bootstrapped targets.

A critic is a callable `critic(observation [N, S], action [N, A], noise [N, K])`
that returns one return a row, [N], and computes each row by itself (no batch
normalisation). Its Sobolev sample is `[z ; dz/ds ; dz/da]`, of which the
state-gradient, or both gradients, may be left out (`wrt`). In place of a critic, an
object with C `members` may stand (`networks.CriticEnsemble`): the first M / C samples of
each pair are then the first member's, and so on.

The target exists in two forms that compute the same numbers: `sobolev_target`
applies the chain rule at the next state, so that the world model and the policy
see B rows; `plain_sobolev_target` is Algorithm 1 to the letter, M copies of every
row through everything. The second is the reference of tests and benchmark.
"""

from typing import Any, Callable, Sequence, Tuple

import tensorflow as tf

from acme_dsdpg.losses import chunks

Critic = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]
Policy = Callable[[tf.Tensor], tf.Tensor]
# (observation [N, S], action [N, A]) -> (reward [N], next observation [N, S]),
# differentiable, with the latent noise held fixed in the callable.
Model = Callable[[tf.Tensor, tf.Tensor], Tuple[tf.Tensor, tf.Tensor]]

WRT = ('none', 'action', 'state_action')


def repeat_rows(x: tf.Tensor, times: int) -> tf.Tensor:
  """[B, D] -> [B * times, D], the copies of a row beside each other."""
  batch_size, size = x.shape
  x = tf.broadcast_to(x[:, tf.newaxis], [batch_size, times, size])
  return tf.reshape(x, [batch_size * times, size])


def samples_and_gradients(
  critic: Critic, observation: tf.Tensor, action: tf.Tensor, noise: tf.Tensor
) -> Tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
  """M samples of the return of each pair, with both input gradients.

  Args:
    critic: see the module's text.
    observation: [B, S] float.
    action: [B, A] float, same type.
    noise: [B, M, K] float, same type; K may be 0 (a point critic).

  Returns:
    z [B, M], dz/ds [B, M, S], dz/da [B, M, A]; differentiable in the critic's
    weights, in the inputs and in the noise.

  Raises:
    ValueError: the critic ignores the observation or the action.
  """
  return _pooled(_member_samples_and_gradients, critic, observation, action, noise)


def sobolev_samples(
  critic: Critic,
  observation: tf.Tensor,
  action: tf.Tensor,
  noise: tf.Tensor,
  wrt: str = 'action',
) -> tf.Tensor:
  """Samples of the Sobolev return (Eq. 14; Sec. 3.2): x = [z ; dz/ds ; dz/da].

  Args:
    critic: see the module's text.
    observation: [B, S] float.
    action: [B, A] float.
    noise: [B, M, K] float.
    wrt: 'none' for [z], 'action' for [z ; dz/da], or 'state_action'.

  Returns:
    [B, M, 1], [B, M, 1 + A] or [B, M, 1 + S + A]; differentiable.

  Raises:
    ValueError: an unknown `wrt`, or a critic that ignores an input.
  """
  _check_wrt(wrt)
  if wrt == 'none':
    (z,) = _pooled(_member_samples, critic, observation, action, noise)
    return z[..., tf.newaxis]
  z, dz_ds, dz_da = samples_and_gradients(critic, observation, action, noise)
  blocks = [dz_da] if wrt == 'action' else [dz_ds, dz_da]
  return tf.concat([z[..., tf.newaxis], *blocks], axis=-1)


def sobolev_target(
  model: Model,
  policy: Policy,
  critic: Critic,
  observation: tf.Tensor,
  action: tf.Tensor,
  discount: tf.Tensor,
  noise: tf.Tensor,
  wrt: str = 'action',
) -> tf.Tensor:
  """Samples of the Sobolev Bellman target (Eqs. 15-18, 24; A.3).

  With (R, s+) = model(s, a), a+ = policy(s+) and z_i = critic(s+, a+, noise_i):

      y_i     = R + D z_i
      dy_i/dx = dR/dx + D ((ds+/dx)^T dz_i/ds+ + (da+/dx)^T dz_i/da+)

  for x = a or (s, a), so that model and policy see B rows. Their derivatives are taken
  forward, one pass for each input x, or backward, one for each sample, whichever are
  fewer. (Eq. 28 drops the discount: a slip.) Equal to `plain_sobolev_target`, at a
  fraction of its cost.

  Args:
    model: differentiable one-step model, its latent fixed.
    policy: the target policy.
    critic: the target critic.
    observation: [B, S] float.
    action: [B, A] float.
    discount: [B] float, D: gamma times the transition's own discount; 0 ends
      the bootstrap.
    noise: [B, M, K] float.
    wrt: as in `sobolev_samples`.

  Returns:
    [B, M, 1 + ...], a constant: gradients do not flow through it.

  Raises:
    ValueError: an unknown `wrt`, or a critic that ignores an input.
  """
  _check_wrt(wrt)
  state_size = observation.shape[-1]
  if wrt == 'none':
    reward, next_observation = model(observation, action)
    next_action = policy(next_observation)
    z = sobolev_samples(critic, next_observation, next_action, noise, 'none')
    y = reward[:, tf.newaxis, tf.newaxis] + discount[:, tf.newaxis, tf.newaxis] * z
    return tf.stop_gradient(y)

  def outcome(x: tf.Tensor) -> tf.Tensor:
    s, a = _split(x, observation, wrt)
    reward, next_observation = model(s, a)
    next_action = policy(next_observation)
    return tf.concat([tf.expand_dims(reward, -1), next_observation, next_action], -1)

  x = action if wrt == 'action' else tf.concat([observation, action], -1)
  if noise.shape[1] < x.shape[-1]:
    value, pull_back = value_and_pull_back(outcome, x)
  else:
    value, jacobian = value_and_jacobian(outcome, x)
    # [B, M, Y] times [B, X, Y] over the last axis.
    pull_back = lambda cotangents: tf.matmul(cotangents, jacobian, transpose_b=True)

  def bootstrap(value, discount, noise):
    reward, next_observation, next_action = tf.split(
      value, [1, state_size, value.shape[-1] - 1 - state_size], axis=-1
    )
    z, dz_ds, dz_da = samples_and_gradients(critic, next_observation, next_action, noise)
    discount = discount[:, tf.newaxis]
    y = reward + discount * z
    dz = discount[..., tf.newaxis] * tf.concat([dz_ds, dz_da], -1)
    return tf.concat([y[..., tf.newaxis], dz], axis=-1)

  # Dy/d[s+ ; a+] of every sample.
  size = chunks.chunk_size(*noise.shape[:2])
  y, dy_dnext = tf.split(
    chunks.map_chunks(bootstrap, (value, discount, noise), size),
    [1, value.shape[-1] - 1],
    axis=-1,
  )
  dy_dx = pull_back(tf.concat([tf.ones_like(y), dy_dnext], axis=-1))
  return tf.stop_gradient(tf.concat([y, dy_dx], axis=-1))


def plain_sobolev_target(
  model: Model,
  policy: Policy,
  critic: Critic,
  observation: tf.Tensor,
  action: tf.Tensor,
  discount: tf.Tensor,
  noise: tf.Tensor,
  wrt: str = 'action',
) -> tf.Tensor:
  """`sobolev_target` as Algorithm 1 has it: one tape over M copies of every row.

  Here `model` is given B * M rows, so a latent it holds must have M copies of
  each row as well (`repeat_rows`). Arguments and result are otherwise the same.
  """
  _check_wrt(wrt)
  num_samples = noise.shape[1]
  x = action if wrt == 'action' else tf.concat([observation, action], -1)
  x = repeat_rows(x, num_samples)
  observation = repeat_rows(observation, num_samples)
  discount = repeat_rows(discount[:, tf.newaxis], num_samples)[:, 0]
  with tf.GradientTape(watch_accessed_variables=False) as tape:
    tape.watch(x)
    s, a = (observation, repeat_rows(action, num_samples))
    if wrt != 'none':
      s, a = _split(x, observation, wrt)
    reward, next_observation = model(s, a)
    z = plain_returns(critic, next_observation, policy(next_observation), noise)
    y = reward + discount * z
  blocks = [y[:, tf.newaxis]]
  if wrt != 'none':
    blocks.append(tape.gradient(y, x))
  target = tf.concat(blocks, axis=-1)
  return tf.stop_gradient(tf.reshape(target, [-1, num_samples, target.shape[-1]]))


def plain_returns(
  critic: Critic, observation: tf.Tensor, action: tf.Tensor, noise: tf.Tensor
) -> tf.Tensor:
  """Samples of the return where every row has been copied M times.

  Args:
    critic: see the module's text.
    observation: [B * M, S] float.
    action: [B * M, A] float.
    noise: [B, M, K] float.

  Returns:
    [B * M].
  """
  members = members_of(critic)
  batch_size, num_samples = noise.shape[:2]

  def by_member(copies):
    return [_flatten(part) for part in tf.split(copies, len(members), axis=1)]

  unflatten = lambda rows: tf.reshape(rows, [batch_size, num_samples, rows.shape[-1]])
  copies = (unflatten(observation), unflatten(action), noise)
  parts = zip(members, *map(by_member, copies))
  z = [tf.reshape(member(*rows), [batch_size, -1]) for member, *rows in parts]
  return tf.reshape(tf.concat(z, axis=1), [-1])


def drop_largest(samples: tf.Tensor, number: int) -> tf.Tensor:
  """Leaves out the samples of the largest returns, each with its gradient.

  With the samples of several critics pooled, as TQC (Kuznetsov et al., 2020) truncates
  its target's atoms.

  Args:
    samples: [B, M, D] float, first coordinate the return.
    number: of samples dropped for each pair, below M.

  Returns:
    [B, M - number, D], by increasing return; `samples` itself if number is 0.
  """
  if not number:
    return samples
  order = tf.argsort(samples[..., 0], axis=-1)
  return tf.gather(samples, order[:, : samples.shape[1] - number], batch_dims=1)


def members_of(critic: Any) -> Sequence[Critic]:
  """The critics of an ensemble; the critic itself where it is one."""
  return getattr(critic, 'members', (critic,))


def anchored(model: Model, reward: tf.Tensor, next_observation: tf.Tensor) -> Model:
  """`model` moved onto the observed outcome: its derivatives, their values.

  s~ = s^ + stop_gradient(s+ - s^), and the same for the reward, as SVG infers
  the noise so that its model reproduces the observed transition.

  Args:
    model: the differentiable model.
    reward: [B] float, observed.
    next_observation: [B, S] float, observed.
  """

  def model_at_observation(observation, action):
    r, s = model(observation, action)
    return (
      r + tf.stop_gradient(reward - r),
      s + tf.stop_gradient(next_observation - s),
    )

  return model_at_observation


def value_and_jacobian(
  function: Callable[[tf.Tensor], tf.Tensor], x: tf.Tensor
) -> Tuple[tf.Tensor, tf.Tensor]:
  """A row-wise function's value and Jacobian, in forward mode.

  An outcome [R ; s+ ; a+] has more coordinates than it is differentiated by.

  Args:
    function: [B, X] -> [B, Y], each row by itself.
    x: [B, X] float.

  Returns:
    value [B, Y] and jacobian [B, X, Y], `jacobian[b, i, j] = dy_j/dx_i`.
  """
  with tf.GradientTape(watch_accessed_variables=False) as tape:
    with tf.GradientTape(watch_accessed_variables=False) as inner:
      inner.watch(x)
      value = function(x)
    # The gradient is linear in its cotangent, and its Jacobian there pushes X
    # tangents through one shared primal.
    cotangent = tf.zeros_like(value)
    tape.watch(cotangent)
    gradient = inner.gradient(
      value, x, cotangent, unconnected_gradients=tf.UnconnectedGradients.ZERO
    )
  return value, tape.batch_jacobian(
    gradient, cotangent, unconnected_gradients=tf.UnconnectedGradients.ZERO
  )


def value_and_pull_back(
  function: Callable[[tf.Tensor], tf.Tensor], x: tf.Tensor
) -> Tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
  """A row-wise function's value, and its transposed Jacobian as a function.

  In reverse mode: of M cotangents a row it costs M backward passes through one shared
  primal, where `value_and_jacobian` costs X forward ones.

  Args:
    function: [B, X] -> [B, Y], each row by itself.
    x: [B, X] float.

  Returns:
    value [B, Y], and `pull_back`, cotangents [B, M, Y] -> [B, M, X], to be called once.
  """
  with tf.GradientTape(watch_accessed_variables=False) as tape:
    tape.watch(x)
    value = function(x)

  def pull_back(cotangents):
    pulled = tf.vectorized_map(
      lambda cotangent: tape.gradient(
        value, x, cotangent, unconnected_gradients=tf.UnconnectedGradients.ZERO
      ),
      tf.transpose(cotangents, [1, 0, 2]),
    )
    return tf.transpose(pulled, [1, 0, 2])

  return value, pull_back


def _split(x: tf.Tensor, observation: tf.Tensor, wrt: str):
  """The observation and action within x."""
  if wrt == 'action':
    return observation, x
  state_size = observation.shape[-1]
  return tf.split(x, [state_size, x.shape[-1] - state_size], axis=-1)


def _pooled(
  function: Callable[..., Tuple[tf.Tensor, ...]],
  critic: Any,
  observation: tf.Tensor,
  action: tf.Tensor,
  noise: tf.Tensor,
) -> Tuple[tf.Tensor, ...]:
  """`function` of each member and its part of the noise; [B, M, ...] of all."""
  members = members_of(critic)
  parts = [
    function(member, observation, action, its_noise)
    for member, its_noise in zip(members, tf.split(noise, len(members), axis=1))
  ]
  return tuple(tf.concat(part, axis=1) for part in zip(*parts))


def _member_samples(critic, observation, action, noise):
  num_samples = noise.shape[1]
  embedding, sample, _ = _in_halves(critic, observation, action)
  z = sample([repeat_rows(x, num_samples) for x in embedding], _flatten(noise))
  return (tf.reshape(z, [-1, num_samples]),)


def _member_samples_and_gradients(critic, observation, action, noise):
  num_samples = noise.shape[1]
  embedding, sample, input_gradients = _in_halves(critic, observation, action)
  embedding = [repeat_rows(x, num_samples) for x in embedding]
  with tf.GradientTape(watch_accessed_variables=False) as tape:
    tape.watch(embedding)
    z = sample(embedding, _flatten(noise))
  # Rows are independent, so the gradient of the sum is each row's gradient.
  gradients = input_gradients(tape.gradient(z, embedding))
  for name, gradient in zip(('observation', 'action'), gradients):
    if gradient is None:
      raise ValueError(f'The critic does not depend on its {name}.')
  unflatten = lambda x: tf.reshape(x, [-1, num_samples, *x.shape[1:]])
  return unflatten(z), unflatten(gradients[0]), unflatten(gradients[1])


def _in_halves(critic: Critic, observation: tf.Tensor, action: tf.Tensor):
  """What the samples of each pair share, what makes one of it, and the way back.

  A critic with `embed`, `sample` and `input_gradients` (`networks.Critic`) computes
  most of the pair's part once a pair. Any other is given its inputs, repeated.

  Returns:
    embedding: a list of [B, ...].
    sample: (embedding of N rows, noise [N, K]) -> returns [N].
    input_gradients: dz/d embedding of N rows -> (dz/ds [N, S], dz/da [N, A]).
  """
  if hasattr(critic, 'embed'):
    return critic.embed(observation, action), critic.sample, critic.input_gradients
  sample = lambda embedding, noise: critic(*embedding, noise)
  return [observation, action], sample, lambda gradients: gradients


def _flatten(noise: tf.Tensor) -> tf.Tensor:
  """[B, M, K] -> [B * M, K]."""
  return tf.reshape(noise, [noise.shape[0] * noise.shape[1], noise.shape[2]])


def _check_wrt(wrt: str):
  if wrt not in WRT:
    raise ValueError(f'wrt={wrt!r} is not valid: it must be one of {", ".join(WRT)}.')
