"""The builder: makes the agent's parts, behind Acme's method names.

The only file that knows Reverb tables.
"""

from typing import Iterator, List, Optional

from acme import adders, core, specs
from acme.utils import counting, loggers
import reverb
import tensorflow as tf

from acme_dsdpg import config as config_lib
from acme_dsdpg import networks as networks_lib
from acme_dsdpg.agent import acting, learning, policies
from acme_dsdpg.agent import adders as agent_adders

TABLE = 'priority_table'
# Slack of the rate limiter, as a fraction of `min_replay_size * samples_per_insert`.
_TOLERANCE_RATE = 0.1


class DSDPGBuilder:
  """Makes replay tables, dataset, adder, actor and learner for one config.

  The single process and the distributed program are wired from the same builder.
  """

  def __init__(self, config: config_lib.DSDPGConfig):
    self._config = config

  def make_networks(
    self, environment_spec: specs.EnvironmentSpec, seed: int = 0
  ) -> networks_lib.DSDPGNetworks:
    """Builds the networks; see `networks.make_networks`."""
    return networks_lib.make_networks(environment_spec, self._config, seed)

  def make_replay_tables(
    self, environment_spec: specs.EnvironmentSpec, limit_rate: bool = True
  ) -> List[reverb.Table]:
    """Makes one uniform table, first in first out.

    Args:
      environment_spec: of the wrapped environment.
      limit_rate: hold actors and learner to `samples_per_insert`. False where a
        single thread does both and counts by itself (it would wait for itself).
    """
    config = self._config
    if limit_rate:
      # At least a block of batches either way, as they are drawn.
      block = config_lib.UPDATES_PER_CALL * config.batch_size
      error_buffer = max(
        _TOLERANCE_RATE * config.min_replay_size * config.samples_per_insert,
        2.0 * block,
        2.0 * config.samples_per_insert,
      )
      limiter = reverb.rate_limiters.SampleToInsertRatio(
        samples_per_insert=config.samples_per_insert,
        min_size_to_sample=config.min_replay_size,
        error_buffer=error_buffer,
      )
    else:
      # Not min_replay_size: the adder holds the last items back, so that a thread
      # which has written as many could wait for them for ever.
      limiter = reverb.rate_limiters.MinSize(1)
    (observation_size,) = environment_spec.observations.shape
    row_size = observation_size + environment_spec.actions.shape[0] + 2
    return [
      reverb.Table(
        name=TABLE,
        sampler=reverb.selectors.Uniform(),
        remover=reverb.selectors.Fifo(),
        max_size=config.max_replay_size,
        rate_limiter=limiter,
        signature=tf.TensorSpec([config.n_step + 1, row_size], tf.float32),
      )
    ]

  def make_dataset_iterator(
    self, replay_client: reverb.Client
  ) -> Iterator[reverb.ReplaySample]:
    """Yields the batches of `UPDATES_PER_CALL` learner steps at a time."""
    dataset = self._make_dataset(replay_client, config_lib.UPDATES_PER_CALL)
    return iter(dataset.batch(config_lib.UPDATES_PER_CALL).prefetch(1))

  def _make_dataset(
    self, replay_client: reverb.Client, num_ahead: int
  ) -> tf.data.Dataset:
    """Makes a dataset of batches, of which `num_ahead` are drawn ahead."""
    size = self._config.batch_size
    dataset = reverb.TrajectoryDataset.from_table_signature(
      replay_client.server_address,
      TABLE,
      # One stream: each holds back what it has drawn ahead.
      num_workers_per_iterator=1,
      max_in_flight_samples_per_worker=num_ahead * size,
    )
    # It would find nothing to tune, and its thread may end only at its next turn: up to
    # a minute later, for which the iterator's deletion would wait.
    options = tf.data.Options()
    options.autotune.enabled = False
    # A static batch size: D4PG's statistics of observations need it, as they are traced.
    return dataset.batch(size, drop_remainder=True).with_options(options)

  def make_adder(self, replay_client: reverb.Client) -> adders.Adder:
    """Makes an adder of N-step transitions."""
    return agent_adders.RowAdder(
      replay_client, TABLE, self._config.n_step, self._config.discount
    )

  def make_behavior_policy(
    self,
    environment_spec: specs.EnvironmentSpec,
    policy: networks_lib.ActingPolicy,
    seed: Optional[int] = None,
  ) -> policies.BehaviorPolicy:
    """Makes what acts by `policy`.

    Args:
      environment_spec: of the wrapped environment.
      policy: whose weights it follows.
      seed: of Gaussian exploration noise; None adds none, for evaluation.
    """
    greedy = self._make_greedy_policy(environment_spec, policy)
    if seed is None:
      return greedy
    return policies.ExploringPolicy(
      greedy, self._config.sigma, environment_spec.actions, seed
    )

  def _make_greedy_policy(self, environment_spec, policy) -> policies.BehaviorPolicy:
    return policies.NumpyPolicy(
      policy, environment_spec.actions, self._config.normalize_observations
    )

  def make_actor(
    self,
    behavior_policy: policies.BehaviorPolicy,
    policy: networks_lib.ActingPolicy,
    adder: Optional[adders.Adder] = None,
    variable_source: Optional[core.VariableSource] = None,
  ) -> core.Actor:
    """Makes an actor.

    Args:
      behavior_policy: from `make_behavior_policy`.
      policy: what it was made from, whose weights follow the source's.
      adder: None writes nothing.
      variable_source: the learner, or a handle to it; None keeps the weights.
    """
    client = None
    if variable_source is not None:
      client = acting.VariableClient(
        variable_source,
        {'policy': policy.variables},
        update_period=self._config.variable_update_period,
      )
      client.update_and_wait()
    return acting.FeedForwardActor(behavior_policy, adder, client)

  def make_learner(
    self,
    environment_spec: specs.EnvironmentSpec,
    networks: networks_lib.DSDPGNetworks,
    dataset: Iterator[reverb.ReplaySample],
    seed: int = 0,
    counter: Optional[counting.Counter] = None,
    logger: Optional[loggers.Logger] = None,
    log_every: int = config_lib.ExperimentConfig.log_every,
    max_skipped_updates: int = config_lib.FaultLimits.max_skipped_updates,
  ) -> learning.DSDPGLearner:
    """Makes the learner on `networks`, with target networks of its own."""
    return learning.DSDPGLearner(
      networks,
      networks_lib.make_policy(environment_spec, self._config, seed),
      networks_lib.make_critic(
        environment_spec, self._config, networks.world_model, seed
      ),
      self._config,
      dataset,
      seed=seed,
      counter=counter,
      logger=logger,
      log_every=log_every,
      max_skipped_updates=max_skipped_updates,
    )
