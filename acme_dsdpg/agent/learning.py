"""The learner: one step is world model, target, critic, policy, target networks."""

from typing import (
  Dict,
  Iterator,
  List,
  Mapping,
  NamedTuple,
  Optional,
  Sequence,
  Tuple,
  Union,
)

from absl import logging
import acme
from acme import types
from acme.utils import counting, loggers
import numpy as np
import reverb
import tensorflow as tf
import tensorflow_addons as tfa

from acme_dsdpg import config as config_lib
from acme_dsdpg import networks as networks_lib
from acme_dsdpg.agent import adders as agent_adders
from acme_dsdpg.agent import critic_kernels
from acme_dsdpg.losses import chunks, cvae, dpg, mmd, sobolev
from acme_dsdpg.losses import critic as critic_losses

Metrics = Dict[str, tf.Tensor]
_Gradients = Tuple[List[tf.Tensor], Metrics]

# Times the least reconstruction error that was logged.
_DIVERGED = 30.0

_BETAS = dict(beta_1=0.9, beta_2=0.999)  # A.8, all networks.


class Batch(NamedTuple):
  """A batch of N-step transitions with normalised observations.

  observation [B, S], action [B, A], the outcome of the N steps, and that of the
  steps the world model spans: N or one. Discounts are gamma times the transition's.
  """

  observation: tf.Tensor
  action: tf.Tensor
  outcome: agent_adders.Outcome
  model_outcome: agent_adders.Outcome


class _Seeds(NamedTuple):
  """Stateless seeds, int [2] each, of one step."""

  model: tf.Tensor
  latent: tf.Tensor
  target: tf.Tensor
  critic: tf.Tensor
  policy: tf.Tensor


class NonFiniteError(Exception):
  """Too many updates in a row met NaN or infinity; `batch` is the last one's."""

  def __init__(self, message: str, batch: types.Transition):
    super().__init__(message)
    self.batch = batch


class DSDPGLearner(acme.Learner):
  """Learns critic, policy and world model from replayed transitions (Alg. 1).

  All of the randomness of a step follows from the seed and the step's number. Where
  a batch, a loss or a gradient is not finite, the step's further updates are skipped.
  The step counts all the same, and the target networks follow.
  """

  def __init__(
    self,
    networks: networks_lib.DSDPGNetworks,
    target_policy: networks_lib.Policy,
    target_critic: Union[networks_lib.Critic, networks_lib.CriticEnsemble],
    config: config_lib.DSDPGConfig,
    iterator: Iterator[reverb.ReplaySample],
    seed: int = 0,
    counter: Optional[counting.Counter] = None,
    logger: Optional[loggers.Logger] = None,
    log_every: int = config_lib.ExperimentConfig.log_every,
    max_skipped_updates: int = config_lib.ExperimentConfig.max_skipped_updates,
  ):
    """Initializes the learner.

    Args:
      networks: the online networks, built.
      target_policy: built, same shapes; overwritten with the online weights.
      target_critic: likewise.
      config: the agent.
      iterator: yields `reverb.ReplaySample`s whose `data` is an
        `acme.types.Transition` of `config.transitions_per_step` tensor or array rows.
      seed: of everything drawn in a step.
      counter: counts learner steps.
      logger: receives the metrics (README) every `log_every` steps.
      log_every: learner steps.
      max_skipped_updates: steps in a row that skip an update raise NonFiniteError.
    """
    self._networks = networks
    self._target_policy = target_policy
    self._target_critic = target_critic
    for online, target in self._with_targets():
      target.assign(online)
    self._config = config
    self._iterator = iterator
    self._seed = tf.constant([seed, 0], tf.int32)
    self._counter = counting.Counter() if counter is None else counter
    self._logger = loggers.NoOpLogger() if logger is None else logger
    self._log_every = log_every
    self._max_skipped_updates = max_skipped_updates
    self._num_skipped = self._skipped_in_a_row = 0
    self._least_error = np.inf

    self._num_steps = tf.Variable(0, dtype=tf.int32, name='num_steps')
    radam = tfa.optimizers.RectifiedAdam
    self._optimizers = {
      'critic': radam(config.critic_learning_rate, **_BETAS),
      'policy': radam(config.policy_learning_rate, **_BETAS),
    }
    self._trainable = {
      'critic': networks.critic.trainable_variables,
      'policy': networks.policy.trainable_variables,
    }
    if networks.world_model is not None:
      self._optimizers['world_model'] = tf.keras.optimizers.Adam(
        config.world_model_learning_rate, **_BETAS
      )
      self._trainable['world_model'] = networks.world_model.trainable_variables
    for name, optimizer in self._optimizers.items():
      # XLA can create no variables, and a restored checkpoint needs the slots.
      optimizer._create_all_weights(self._trainable[name])
    self._update = tf.function(
      self._step, jit_compile=config.jit_compile, autograph=False
    )
    self._acting_variables = networks.make_acting_policy().variables

  def step(self):
    """Updates the world model `world_model_updates` times, critic and policy once.

    Raises:
      NonFiniteError: `max_skipped_updates` steps in a row had to skip an update.
    """
    transition = next(self._iterator).data
    metrics = self._update(transition)
    if metrics.pop('skipped'):
      self._num_skipped += 1
      self._skipped_in_a_row += 1
      if self._skipped_in_a_row >= self._max_skipped_updates:
        raise NonFiniteError(
          f'{self._skipped_in_a_row} updates in a row met losses or gradients that are '
          'not finite.',
          transition,
        )
    else:
      self._skipped_in_a_row = 0
    counts = self._counter.increment(steps=1)
    num_steps = int(
      counts['learner_steps'] if 'learner_steps' in counts else counts['steps']
    )
    if num_steps % self._log_every == 0:
      values = {k: v.numpy() for k, v in metrics.items()}
      self._watch_world_model(values.get('reconstruction_error'))
      self._logger.write({**values, 'skipped_updates': self._num_skipped, **counts})

  def _watch_world_model(self, error: Optional[np.ndarray]):
    if error is None:
      return
    self._least_error = min(self._least_error, float(error))
    if error > _DIVERGED * self._least_error:
      logging.warning(
        'The world model diverges: its reconstruction error is %.3g, %.0f times the '
        'least that was logged.',
        error,
        error / self._least_error,
      )

  def get_variables(self, names: Sequence[str]) -> List[List[np.ndarray]]:
    """The acting policy's weights, the normalizer's among them, under 'policy'."""
    variables = {
      'policy': self._acting_variables,
      'critic': self._networks.critic.variables,
    }
    return [[v.numpy() for v in variables[name]] for name in names]

  @property
  def state(self) -> Mapping[str, tf.Module]:
    """Everything a checkpoint needs to go on as if nothing had happened."""
    state = dict(
      normalizer=self._networks.normalizer,
      policy=self._networks.policy,
      critic=self._networks.critic,
      target_policy=self._target_policy,
      target_critic=self._target_critic,
      num_steps=self._num_steps,
    )
    state.update({f'{k}_optimizer': v for k, v in self._optimizers.items()})
    if self._networks.world_model is not None:
      state['world_model'] = self._networks.world_model
    return state

  # The algorithm, top to bottom.

  def _step(self, transition: types.Transition) -> Metrics:
    seeds = self._draw_seeds()
    # Clipping may swallow a NaN, so it is looked for where it would enter.
    finite = _all_finite(tf.nest.flatten(transition))
    batches = self._split(self._prepare(transition, finite))
    metrics = {'skipped': ~finite}
    if self._networks.world_model is not None:
      model_seeds = tf.random.experimental.stateless_split(seeds.model, len(batches))
      for batch, seed in zip(batches, tf.unstack(model_seeds)):
        self._apply('world_model', *self._world_model_gradients(batch, seed), metrics)
    batch = batches[-1]
    target = self._bellman_target(batch, seeds)
    self._apply('critic', *self._critic_gradients(batch, target, seeds.critic), metrics)
    self._apply('policy', *self._policy_gradients(batch, seeds.policy), metrics)
    self._update_target_networks()
    self._num_steps.assign_add(1)
    return metrics

  def _prepare(self, transition: types.Transition, finite: tf.Tensor = True) -> Batch:
    normalizer = self._networks.normalizer
    # One NaN would stay in the statistics for good.
    normalizer.update(transition.observation, finite)

    def outcome(of):
      # NStepTransitionAdder's discount is gamma^(n-1) times the environment's.
      return agent_adders.Outcome(
        of.reward, self._config.discount * of.discount, normalizer(of.next_observation)
      )

    n_step = outcome(transition)
    batch = Batch(
      observation=normalizer(transition.observation),
      action=transition.action,
      outcome=n_step,
      model_outcome=outcome(transition.extras) if self._config.one_step_model else n_step,
    )
    if self._networks.world_model is not None:
      self._networks.world_model.observe(*_outcome_of(batch), finite)
    return batch

  def _split(self, batch: Batch) -> List[Batch]:
    """One batch for each update of the world model."""
    number = self._config.world_model_updates
    pieces = [tf.split(tensor, number) for tensor in tf.nest.flatten(batch)]
    return [tf.nest.pack_sequence_as(batch, piece) for piece in zip(*pieces)]

  def _world_model_gradients(self, batch: Batch, seed: tf.Tensor) -> _Gradients:
    model = self._networks.world_model
    with tf.GradientTape() as tape:
      posterior = model.encode(*encoder_inputs(batch))
      losses = cvae.cvae_loss(
        posterior,
        model.prior(),
        lambda latent: model.predict_outcome(batch.observation, batch.action, latent),
        *model.outcome(*_outcome_of(batch)),
        self._config.kl_weight,
        seed,
      )
    return tape.gradient(losses.loss, self._trainable['world_model']), {
      'world_model_loss': losses.loss,
      'reconstruction_error': losses.reconstruction,
      'kl': losses.kl,
    }

  def _bellman_target(self, batch: Batch, seeds: _Seeds) -> tf.Tensor:
    """Sobolev samples of the target, [B, N, D] (Eqs. 15-18, 24).

    Those of all critics, N of them after `num_dropped_samples` are left out.
    """
    noise = self._noise(batch, self._num_samples, seeds.target)
    rows = self._model_rows(batch)

    def target(model, discount, wrt):
      return self._sobolev_target(
        model,
        self._target_policy,
        self._target_critic,
        batch.observation,
        batch.action,
        discount,
        noise,
        wrt,
      )

    model = self._transition_model(rows, seeds.latent)
    result = target(model, batch.model_outcome.discount, self._config.sobolev)
    if self._config.one_step_model:
      returns = target(observed(rows.outcome), batch.outcome.discount, 'none')
      result = tf.concat([returns, result[..., 1:]], axis=-1)
    return sobolev.drop_largest(result, self._config.num_dropped_samples)

  # What `plain.PlainLearner` does otherwise.

  _sobolev_target = staticmethod(sobolev.sobolev_target)

  def _model_rows(self, batch: Batch) -> Batch:
    """The rows that the transition model is given: one a state."""
    return batch

  def _transition_model(self, batch: Batch, seed: tf.Tensor) -> sobolev.Model:
    """(s, a) -> (R, s+), as the targets switch has it."""
    if self._config.targets == 'observed':
      return observed(batch.outcome)
    latent = tf.stop_gradient(self._latent(batch, seed))
    decode = lambda observation, action: self._networks.world_model.decode(
      observation, action, latent
    )
    if self._config.targets == 'reconstructed':
      return decode
    outcome = batch.model_outcome
    return sobolev.anchored(decode, outcome.reward, outcome.next_observation)

  def _latent(self, batch: Batch, seed: tf.Tensor) -> tf.Tensor:
    """Eps ~ q(. | s+, R; s, a): [B, L]."""
    return self._networks.world_model.encode(*encoder_inputs(batch)).sample(seed=seed)

  def _critic_gradients(
    self, batch: Batch, target: tf.Tensor, seed: tf.Tensor
  ) -> _Gradients:
    config = self._config
    bounded = config.max_sobolev_ratio > 0.0

    def of_states(observation, action, noise, target):
      with tf.GradientTape(persistent=bounded) as tape:
        samples = sobolev.sobolev_samples(
          self._critic, observation, action, noise, config.sobolev
        )
        losses = [
          self._critic_losses(batch, of_member, target)
          for of_member in tf.split(samples, config.num_critics, axis=1)
        ]
        losses = [tf.reduce_mean(term) for term in zip(*losses)]
        # Rectified Adam's first five steps are as long as the gradient, and the
        # multiquadric's grows with h: undivided, they would wreck the initial weights.
        scaled = [loss / critic_kernels.loss_scale(config) for loss in losses]
      gradients = [tape.gradient(loss, self._trainable['critic']) for loss in scaled]
      metrics = {'critic_loss': tf.add_n(losses), **_sample_metrics(samples, target)}
      return gradients, metrics

    noise = self._noise(batch, self._num_samples, seed)
    gradients, metrics = chunks.mean_over_chunks(
      of_states,
      (batch.observation, batch.action, noise, target),
      self._chunk_size(noise),
    )
    if not bounded:
      return gradients[0], metrics
    of_return, of_sample = gradients
    weight = bounding_weight(of_return, of_sample, config.max_sobolev_ratio)
    return [x + weight * y for x, y in zip(of_return, of_sample)], {
      **metrics,
      'bounding_weight': weight,
    }

  def _critic_losses(
    self, batch: Batch, samples: tf.Tensor, target: tf.Tensor
  ) -> List[tf.Tensor]:
    """MMD^2 of the sets of samples, or the point critic's squared error: [B].

    With `max_sobolev_ratio` in two terms, the first of which is on the return alone.
    """
    config = self._config
    if config.critic == 'point':
      error = critic_losses.sobolev_squared_error
      if not config.max_sobolev_ratio:
        return [error(samples, target, config.sobolev_weight)]
      of_return = error(samples[..., :1], target[..., :1])
      return [of_return, error(samples, target, config.sobolev_weight) - of_return]
    sizes = batch.observation.shape[-1], batch.action.shape[-1]
    return [
      mmd.mmd2(samples, target, kernel, config.unbiased_mmd)
      for kernel in critic_kernels.make_kernels(config, *sizes)
    ]

  def _policy_gradients(self, batch: Batch, seed: tf.Tensor) -> _Gradients:
    weight = self._config.policy_pre_activation_weight
    num_samples = self._config.num_critics
    if self._config.critic == 'samples':
      num_samples *= self._config.policy_num_samples

    def of_states(observation, noise):
      with tf.GradientTape() as tape:
        loss = self._policy_loss(observation, noise)
        regularised = loss
        if weight:
          pre_activation = self._networks.policy.pre_activation(observation)
          regularised += weight * dpg.pre_activation_penalty(pre_activation)
      gradients = tape.gradient(regularised, self._trainable['policy'])
      return gradients, {'policy_loss': loss}

    noise = self._noise(batch, num_samples, seed)
    return chunks.mean_over_chunks(
      of_states, (batch.observation, noise), self._chunk_size(noise)
    )

  def _policy_loss(self, observation: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
    return dpg.policy_loss(self._networks.policy, self._critic, observation, noise)

  def _update_target_networks(self):
    rate = self._config.target_update_rate
    for online, target in self._with_targets():
      target.assign_add(rate * (online - target))

  # What the algorithm is made of.

  def _with_targets(self) -> Iterator[Tuple[tf.Variable, tf.Variable]]:
    """Online variables, each with its target."""
    for online, target in (
      (self._networks.policy, self._target_policy),
      (self._networks.critic, self._target_critic),
    ):
      yield from zip(online.variables, target.variables, strict=True)

  @property
  def _num_samples(self) -> int:
    """Of all critics."""
    return self._config.num_critics * self._config.samples_per_critic

  def _draw_seeds(self) -> _Seeds:
    folded = tf.random.experimental.stateless_fold_in(self._seed, self._num_steps)
    num_seeds = len(_Seeds._fields)
    return _Seeds(*tf.unstack(tf.random.experimental.stateless_split(folded, num_seeds)))

  def _noise(self, batch: Batch, num_samples: int, seed: tf.Tensor) -> tf.Tensor:
    """Xi ~ N(0, I_K): [B, M, K], with K = 0 for a point critic."""
    noise_dim = self._config.noise_dim if self._config.critic == 'samples' else 0
    shape = [batch.action.shape[0], num_samples, noise_dim]
    return tf.random.stateless_normal(shape, seed, dtype=batch.action.dtype)

  @property
  def _critic(self) -> sobolev.Critic:
    return self._networks.critic

  def _chunk_size(self, noise: tf.Tensor) -> int:
    """States taken together, for noise [B, M, K] of all critics."""
    return chunks.chunk_size(*noise.shape[:2])

  def _apply(
    self, name: str, gradients: List[tf.Tensor], computed: Metrics, metrics: Metrics
  ):
    """One optimizer step on one network; its metrics are added.

    Skipped, with all that comes after it in a step, where something is not finite.
    """
    norm = tf.linalg.global_norm(gradients)
    skipped = metrics['skipped'] | ~_all_finite([norm, *computed.values()])

    def apply():
      self._optimizers[name].apply_gradients(zip(gradients, self._trainable[name]))

    tf.cond(skipped, lambda: None, apply)
    metrics.update(computed)
    metrics[f'{name}_gradient_norm'] = norm
    metrics['skipped'] = skipped


def bounding_weight(
  first: Sequence[tf.Tensor], second: Sequence[tf.Tensor], max_ratio: float
) -> tf.Tensor:
  """The weight, 1 or less, at which `second` is at most `max_ratio` times `first`.

  By the norm over all tensors of each list. A scalar.
  """
  bound, norm = max_ratio * tf.linalg.global_norm(first), tf.linalg.global_norm(second)
  return tf.where(norm > bound, bound / norm, tf.ones_like(norm))


def observed(outcome: agent_adders.Outcome) -> sobolev.Model:
  """A model without derivatives: the outcome itself."""
  return lambda observation, action: (outcome.reward, outcome.next_observation)


def named_arrays(transition: types.Transition) -> Dict[str, np.ndarray]:
  """The arrays of a batch by field, for a file."""
  fields = {
    name: value for name, value in transition._asdict().items() if name != 'extras'
  }
  if isinstance(transition.extras, tuple) and transition.extras:
    outcome = agent_adders.Outcome(*transition.extras)
    fields.update({f'first_step_{k}': v for k, v in outcome._asdict().items()})
  return {name: np.asarray(value) for name, value in fields.items()}


def _outcome_of(batch: Batch) -> Sequence[tf.Tensor]:
  """Where the world model starts, and what it is to predict."""
  outcome = batch.model_outcome
  return batch.observation, outcome.reward, outcome.next_observation


def encoder_inputs(batch: Batch) -> Sequence[tf.Tensor]:
  """What the world model's encoder is given."""
  outcome = batch.model_outcome
  return batch.observation, batch.action, outcome.reward, outcome.next_observation


def _all_finite(tensors: Sequence[tf.Tensor]) -> tf.Tensor:
  """Bool scalar."""
  each = [tf.reduce_all(tf.math.is_finite(tensor)) for tensor in tensors]
  return tf.reduce_all(tf.stack(each))


def _sample_metrics(samples: tf.Tensor, target: tf.Tensor) -> Metrics:
  """Statistics of the Sobolev samples, [B, M, D] both."""
  z, y = samples[..., 0], target[..., 0]
  td_error = tf.reduce_mean(y, axis=-1) - tf.reduce_mean(z, axis=-1)
  metrics = {
    'return_mean': tf.reduce_mean(z),
    'return_spread': _spread(z),
    'target_mean': tf.reduce_mean(y),
    'target_spread': _spread(y),
    'td_error_mean': tf.reduce_mean(td_error),
    'td_error_abs': tf.reduce_mean(tf.abs(td_error)),
  }
  if samples.shape[-1] > 1:
    for name, x in (('gradient', samples), ('target_gradient', target)):
      gradient = x[..., 1:]
      metrics[f'{name}_norm'] = tf.reduce_mean(tf.norm(gradient, axis=-1))
      metrics[f'{name}_spread'] = _spread(tf.linalg.matrix_transpose(gradient))
  return metrics


def _spread(x: tf.Tensor) -> tf.Tensor:
  """Mean standard deviation over the last axis."""
  return tf.reduce_mean(tf.math.reduce_std(x, axis=-1))
