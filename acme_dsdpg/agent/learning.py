"""The learner: one step is world model, target, critic, policy, target networks."""

from typing import Iterator, List, Mapping, Optional, Sequence, Tuple

from absl import logging
import acme
from acme.utils import counting, loggers
import numpy as np
import reverb
import tensorflow as tf

from acme_dsdpg import config as config_lib
from acme_dsdpg import networks as networks_lib
from acme_dsdpg.agent import (
  batches,
  feature_objective,
  objective,
  optimizers,
  sampled_objective,
)
from acme_dsdpg.agent import metrics as metrics_lib
from acme_dsdpg.agent.batches import Batch
from acme_dsdpg.agent.metrics import Metrics
from acme_dsdpg.losses import cvae

# Times the least reconstruction error that was logged.
_DIVERGED = 30.0


class NonFiniteError(Exception):
  """Too many updates in a row met NaN or infinity.

  Attributes:
    batch: the last one's, arrays by field name.
  """

  def __init__(self, message: str, batch: Mapping[str, np.ndarray]):
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
    target_critic: networks_lib.AnyCritic,
    config: config_lib.DSDPGConfig,
    iterator: Iterator[reverb.ReplaySample],
    seed: int = 0,
    counter: Optional[counting.Counter] = None,
    logger: Optional[loggers.Logger] = None,
    log_every: int = config_lib.ExperimentConfig.log_every,
    max_skipped_updates: int = config_lib.FaultLimits.max_skipped_updates,
  ):
    """Initializes the learner.

    Args:
      networks: the online networks, built.
      target_policy: built, same shapes; overwritten with the online weights.
      target_critic: likewise.
      config: the agent.
      iterator: yields `reverb.ReplaySample`s whose `data` are the batches of K steps,
        float32 [K, B, N + 1, S + A + 2]: windows of `adders.RowAdder`'s rows.
      seed: of everything drawn in a step.
      counter: counts learner steps.
      logger: receives the metrics (docs/metrics.md) every `log_every` steps.
      log_every: learner steps.
      max_skipped_updates: steps in a row that skip an update raise NonFiniteError.
    """
    self._networks = networks
    self._target_policy = target_policy
    self._target_critic = target_critic
    for online, target in self._with_targets():
      target.assign(online)
    kind = (
      sampled_objective.SampledObjective
      if config.critic == 'samples'
      else feature_objective.FeatureObjective
    )
    self._objective: objective.Objective = kind(
      config, networks, target_policy, target_critic
    )
    self._config = config
    self._iterator = iterator
    self._seed = tf.constant(seed, tf.int32)
    self._counter = counting.Counter() if counter is None else counter
    self._logger = loggers.NoOpLogger() if logger is None else logger
    self._log_every = log_every
    self._max_skipped_updates = max_skipped_updates
    self._num_skipped = self._skipped_in_a_row = 0
    self._least_error = np.inf

    self._num_steps = tf.Variable(0, dtype=tf.int32, name='num_steps')
    self._trainable = {
      'critic': networks.critic.trainable_variables,
      'policy': networks.policy.trainable_variables,
    }
    rates = {'critic': config.critic_learning_rate, 'policy': config.policy_learning_rate}
    self._optimizers = {
      name: optimizers.RectifiedAdam(self._trainable[name], rate)
      for name, rate in rates.items()
    }
    if networks.world_model is not None:
      self._trainable['world_model'] = networks.world_model.trainable_variables
      self._optimizers['world_model'] = optimizers.Adam(
        self._trainable['world_model'], config.world_model_learning_rate
      )
    self._update = tf.function(
      self._steps, jit_compile=config.jit_compile, autograph=False
    )
    self._acting_variables = networks.make_acting_policy().variables

  def step(self):
    """Takes the K steps of one block of batches, in one call of what is compiled.

    Raises:
      NonFiniteError: `max_skipped_updates` steps in a row had to skip an update.
    """
    blocks = next(self._iterator).data
    metrics, finite = (result.numpy() for result in self._update(blocks))
    first, counted = int(self._num_steps) - len(finite), 0
    for i, ok in enumerate(finite):
      self._skipped_in_a_row = 0 if ok else self._skipped_in_a_row + 1
      self._num_skipped += int(not ok)
      if self._skipped_in_a_row >= self._max_skipped_updates:
        raise NonFiniteError(
          f'{self._skipped_in_a_row} updates in a row met losses or gradients that are '
          'not finite.',
          self._window(np.asarray(blocks[i]))._asdict(),
        )
      if (first + i + 1) % self._log_every == 0:
        self._log(metrics[i], self._counter.increment(steps=i + 1 - counted))
        counted = i + 1
    if counted < len(finite):
      self._counter.increment(steps=len(finite) - counted)

  def _log(self, metrics: np.ndarray, counts: Mapping[str, float]):
    values = dict(zip(self._metric_names, metrics, strict=True))
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
    """Returns weights: under 'policy' the acting policy's, the normalizer's included."""
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

  def _steps(self, blocks: tf.Tensor) -> Tuple[tf.Tensor, tf.Tensor]:
    """Takes K steps in turn.

    Returns:
      Metrics [K, number of metrics], and whether no update was skipped, bool [K].
    """

    def step(rows):
      metrics, ok = self._step(rows)
      self._metric_names = list(metrics)
      return tf.stack(list(metrics.values())), ok

    # A loop in what is compiled: unrolled, it takes K times as long to compile.
    outputs = tf.TensorSpec(None, blocks.dtype), tf.TensorSpec([], tf.bool)
    return tf.map_fn(step, blocks, fn_output_signature=outputs, parallel_iterations=1)

  # The algorithm, top to bottom.

  def _step(self, rows: tf.Tensor) -> Tuple[Metrics, tf.Tensor]:
    """Takes one step; returns metrics and whether no update was skipped."""
    seeds = self._draw_seeds()
    # Clipping may swallow a NaN, so it is looked for where it would enter.
    ok = metrics_lib.all_finite([rows])
    window = self._window(rows)
    self._networks.normalizer.update(window.observation[:, 0], ok)
    batch = self._prepare(window)
    metrics = {}
    if self._networks.world_model is not None:
      update = self._world_model_update(batch, seeds.model)
      ok = self._apply('world_model', update, ok, metrics)
    target = self._objective.bellman_target(batch, seeds)
    update = self._objective.critic_update(batch, target, seeds)
    ok = self._apply('critic', update, ok, metrics)
    update = self._objective.policy_update(batch, seeds)
    ok = self._apply('policy', update, ok, metrics)
    self._update_target_networks()
    self._num_steps.assign_add(1)
    return metrics, ok

  def _window(self, rows: tf.Tensor) -> batches.Window:
    return batches.Window.of(rows, self._networks.normalizer.mean.shape[0])

  def _prepare(self, window: batches.Window) -> Batch:
    return batches.prepare(window, self._networks.normalizer, self._config)

  def _world_model_update(self, batch: Batch, seed: tf.Tensor) -> objective.Update:
    outcome = batch.model_outcome
    with tf.GradientTape() as tape:
      losses = cvae.world_model_loss(
        self._networks.world_model,
        batch.observation,
        batch.action,
        outcome.reward,
        outcome.next_observation,
        self._config.kl_weight,
        seed,
      )
    return objective.Update(
      tape.gradient(losses.loss, self._trainable['world_model']),
      {
        'world_model_loss': losses.loss,
        'reconstruction_error': losses.reconstruction,
        'kl': losses.kl,
      },
    )

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

  def _draw_seeds(self) -> objective.Seeds:
    """Makes the step's seeds from the run's and the step's number.

    Stateless operations scramble them: a split would only be compiled beside.
    """
    num_seeds = len(objective.Seeds._fields)
    first = self._num_steps * num_seeds
    return objective.Seeds(*(tf.stack([self._seed, first + i]) for i in range(num_seeds)))

  def _apply(
    self, name: str, update: objective.Update, ok: tf.Tensor, metrics: Metrics
  ) -> tf.Tensor:
    """Takes one optimizer step on one network, and adds its metrics to `metrics`.

    Returns:
      `ok`, and whether gradients and metrics are finite: otherwise the step is skipped.
    """
    norm = metrics_lib.norm(update.gradients)
    metrics.update({**update.metrics, f'{name}_gradient_norm': norm})
    ok &= metrics_lib.all_finite([norm, *update.metrics.values()])
    self._optimizers[name].apply(update.gradients, ok)
    return ok
