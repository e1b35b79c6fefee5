"""The builder: makes the agent's parts, behind Acme's method names.

The only file that knows Reverb tables.
"""

from typing import Iterator, List, Optional

from acme import adders, core, datasets, specs
from acme.adders import reverb as reverb_adders
from acme.tf import networks as acme_networks
from acme.tf import variable_utils
from acme.utils import counting, loggers
import reverb
import sonnet as snt
import tensorflow as tf

from acme_dsdpg import config as config_lib
from acme_dsdpg import networks as networks_lib
from acme_dsdpg.agent import acting, learning
from acme_dsdpg.agent import adders as agent_adders

TABLE = 'priority_table'
# Slack of the rate limiter, as a fraction of `min_replay_size * samples_per_insert`.
_TOLERANCE_RATE = 0.1
_PREFETCH_SIZE = 2  # Batches.


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
      # At least a batch either way, or a large batch could never be drawn.
      error_buffer = config.samples_per_insert * max(
        _TOLERANCE_RATE * config.min_replay_size,
        2.0 * config.batch_size / config.samples_per_insert,
        2.0,
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
    return [
      reverb.Table(
        name=TABLE,
        sampler=reverb.selectors.Uniform(),
        remover=reverb.selectors.Fifo(),
        max_size=config.max_replay_size,
        rate_limiter=limiter,
        signature=reverb_adders.NStepTransitionAdder.signature(
          environment_spec,
          agent_adders.first_step_spec(environment_spec) if config.one_step_model else (),
        ),
      )
    ]

  def make_dataset_iterator(
    self, replay_client: reverb.Client
  ) -> Iterator[reverb.ReplaySample]:
    """Yields batches of transitions, drawn as few ahead as keep the learner fed."""
    dataset = datasets.make_reverb_dataset(
      server_address=replay_client.server_address,
      batch_size=self._config.batch_size,
      prefetch_size=_PREFETCH_SIZE,
      table=TABLE,
      # Acme's default of 12 streams holds two dozen batches back from updates.
      num_parallel_calls=1,
      max_in_flight_samples_per_worker=self._config.batch_size,
    )
    # It would find nothing to tune, and its thread may end only at its next turn: up to
    # a minute later, for which the iterator's deletion would wait.
    options = tf.data.Options()
    options.autotune.enabled = False
    return iter(dataset.with_options(options))

  def make_adder(self, replay_client: reverb.Client) -> adders.Adder:
    """Makes an adder of N-step transitions; see the learner for their discount."""
    adder = reverb_adders.NStepTransitionAdder(
      client=agent_adders.WriterClient(replay_client),
      n_step=self._config.n_step,
      discount=self._config.discount,
      priority_fns={TABLE: None},
    )
    return agent_adders.FirstStepAdder(adder) if self._config.one_step_model else adder

  def make_behavior_policy(
    self,
    environment_spec: specs.EnvironmentSpec,
    policy: networks_lib.ActingPolicy,
    evaluation: bool = False,
  ) -> snt.Module:
    """Returns the acting policy, with Gaussian exploration noise unless evaluating."""
    if evaluation:
      return policy
    return snt.Sequential(
      [
        policy,
        acme_networks.ClippedGaussian(self._config.sigma),
        acme_networks.ClipToSpec(environment_spec.actions),
      ]
    )

  def make_actor(
    self,
    behavior_policy: snt.Module,
    policy: networks_lib.ActingPolicy,
    adder: Optional[adders.Adder] = None,
    variable_source: Optional[core.VariableSource] = None,
  ) -> core.Actor:
    """Makes Acme's FeedForwardActor.

    Args:
      behavior_policy: from `make_behavior_policy`.
      policy: the acting policy within it, whose weights follow the source's.
      adder: None writes nothing.
      variable_source: the learner, or a handle to it; None keeps the weights.
    """
    client = None
    if variable_source is not None:
      client = variable_utils.VariableClient(
        variable_source,
        {'policy': policy.variables},
        update_period=self._config.variable_update_period,
      )
      client.update_and_wait()
    return acting.FeedForwardActor(
      behavior_policy, policy.observation_size, adder, client
    )

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
      networks_lib.make_critic(environment_spec, self._config, seed),
      self._config,
      dataset,
      seed=seed,
      counter=counter,
      logger=logger,
      log_every=log_every,
      max_skipped_updates=max_skipped_updates,
    )
