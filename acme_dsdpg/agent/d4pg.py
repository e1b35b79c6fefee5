"""Acme's own D4PG (Barth-Maron et al., 2018) in this project's harness.

Networks, losses and optimizers are Acme's defaults; replay, update ratio, batch,
N-step returns, exploration noise, loops and logs are those of the other agents. As in
Acme, the actors' weights are the target policy's.
"""

from typing import Any, Iterator, List, Mapping, Optional, Sequence

import acme
from acme import specs
from acme.agents.tf.d4pg import learning as d4pg_learning
from acme.agents.tf.d4pg import networks as d4pg_networks
from acme.tf import utils as tf2_utils
from acme.utils import counting, loggers
import numpy as np
import reverb
import sonnet as snt
import tensorflow as tf

from acme_dsdpg import config as config_lib
from acme_dsdpg.agent import builder as builder_lib
from acme_dsdpg.networks import check_spec


class ActingPolicy(snt.Module):
  """Acme's policy network, [B, S] to [B, A]."""

  def __init__(self, network: snt.Module, observation_size: int):
    super().__init__(name='acting_policy')
    self._network = network
    self.observation_size = observation_size

  def __call__(self, observation: tf.Tensor) -> tf.Tensor:
    return self._network(observation)


class D4PGNetworks:
  """Acme's default networks, online and target, built."""

  def __init__(self, spec: specs.EnvironmentSpec):
    self._spec = spec
    self.policy, self.critic = self._make()
    self.target_policy, self.target_critic = self._make()

  def _make(self):
    networks = d4pg_networks.make_default_networks(self._spec.actions)
    policy, critic = networks['policy'], networks['critic']
    tf2_utils.create_variables(policy, [self._spec.observations])
    tf2_utils.create_variables(critic, [self._spec.observations, self._spec.actions])
    return policy, critic

  def make_acting_policy(self) -> ActingPolicy:
    """The target policy. Shares the weights."""
    return ActingPolicy(self.target_policy, self._spec.observations.shape[0])


class D4PGLearner(acme.Learner):
  """Acme's learner, counted and logged as `DSDPGLearner` is."""

  def __init__(
    self,
    networks: D4PGNetworks,
    discount: float,
    iterator: Iterator[reverb.ReplaySample],
    counter: counting.Counter,
    logger: loggers.Logger,
    log_every: int,
  ):
    """Initializes the learner; see `learning.DSDPGLearner`."""
    self._counter, self._logger, self._log_every = counter, logger, log_every
    self._optimizers = {
      'policy_optimizer': snt.optimizers.Adam(1e-4),
      'critic_optimizer': snt.optimizers.Adam(1e-4),
    }
    # Their slots are there before a checkpoint is restored.
    policy_variables = networks.policy.trainable_variables
    self._optimizers['policy_optimizer']._initialize(policy_variables)
    critic_variables = networks.critic.trainable_variables
    self._optimizers['critic_optimizer']._initialize(critic_variables)
    self._networks = dict(
      policy_network=networks.policy,
      critic_network=networks.critic,
      target_policy_network=networks.target_policy,
      target_critic_network=networks.target_critic,
    )
    self._last = _LastRow()
    self._learner = d4pg_learning.D4PGLearner(
      **self._networks,
      **self._optimizers,
      discount=discount,
      target_update_period=100,
      dataset_iterator=iterator,
      # It would add its wall time to the counts.
      counter=counting.Counter(),
      logger=self._last,
      checkpoint=False,
    )

  def step(self):
    """Takes one batch and updates everything once."""
    self._learner.step()
    counts = self._counter.increment(steps=1)
    if counts.get('learner_steps', counts.get('steps')) % self._log_every == 0:
      losses = {k: self._last.row[k].numpy() for k in ('critic_loss', 'policy_loss')}
      self._logger.write({**losses, **counts})

  def get_variables(self, names: Sequence[str]) -> List[List[np.ndarray]]:
    return self._learner.get_variables(list(names))

  @property
  def state(self) -> Mapping[str, tf.Module]:
    """What a checkpoint needs."""
    # Its count of steps says when the targets are next updated.
    num_steps = self._learner._num_steps
    return {**self._networks, **self._optimizers, 'num_steps': num_steps}


class _LastRow(loggers.Logger):
  """Keeps what was written last."""

  def write(self, data: Mapping[str, Any]):
    self.row = dict(data)

  def close(self):
    pass


class D4PGBuilder(builder_lib.DSDPGBuilder):
  """`DSDPGBuilder` with Acme's networks and learner."""

  def make_networks(
    self, environment_spec: specs.EnvironmentSpec, seed: int = 0
  ) -> D4PGNetworks:
    """Acme's networks; their weights follow TensorFlow's global seed, not `seed`."""
    del seed
    check_spec(environment_spec)
    return D4PGNetworks(environment_spec)

  def make_learner(
    self,
    environment_spec: specs.EnvironmentSpec,
    networks: D4PGNetworks,
    dataset: Iterator[reverb.ReplaySample],
    seed: int = 0,
    counter: Optional[counting.Counter] = None,
    logger: Optional[loggers.Logger] = None,
    log_every: int = config_lib.ExperimentConfig.log_every,
    max_skipped_updates: int = config_lib.ExperimentConfig.max_skipped_updates,
  ) -> D4PGLearner:
    """Acme's learner on `networks`."""
    del environment_spec, seed, max_skipped_updates  # Acme's skips none.
    return D4PGLearner(
      networks,
      self._config.discount,
      dataset,
      counting.Counter() if counter is None else counter,
      loggers.NoOpLogger() if logger is None else logger,
      log_every,
    )


def make_builder(agent: str, config) -> builder_lib.DSDPGBuilder:
  """The builder of an agent by name (`config.AGENTS`)."""
  kind = D4PGBuilder if agent == 'd4pg' else builder_lib.DSDPGBuilder
  return kind(config)
