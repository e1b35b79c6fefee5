"""Acme's own D4PG (Barth-Maron et al., 2018) in this project's harness.

Networks, losses, optimizers and batch size are Acme's defaults, as are the learning
rates unless others are asked for; update ratio, N-step returns, exploration noise, loops
and logs are those of the other agents. As in Acme's single-process agent, acting is by
the online policy. With `normalize_observations` it sees what the other agents see.
"""

from typing import Any, Iterator, List, Mapping, Optional, Sequence
import warnings

import acme
from acme import specs, types
from acme.agents.tf.d4pg import learning as d4pg_learning
from acme.agents.tf.d4pg import networks as d4pg_networks
from acme.tf import networks as acme_networks
from acme.tf import utils as tf2_utils
from acme.utils import counting, loggers
import numpy as np
import reverb
import sonnet as snt
import tensorflow as tf

from acme_dsdpg import config as config_lib
from acme_dsdpg import networks as networks_lib
from acme_dsdpg.agent import batches, optimizers, policies
from acme_dsdpg.agent import builder as builder_lib


class ActingPolicy(snt.Module):
  """Acme's policy network on raw observations, [B, S] to [B, A]."""

  def __init__(self, normalizer: networks_lib.Normalizer, network: snt.Module):
    super().__init__(name='acting_policy')
    self._normalizer, self._network = normalizer, network
    self.observation_size = normalizer.mean.shape[0]

  def __call__(self, observation: tf.Tensor) -> tf.Tensor:
    return self._network(self._normalizer(observation))


class D4PGNetworks:
  """Acme's default networks, online and target, built.

  Attributes:
    normalizer: raw observations [B, S] to what the others see.
    policy: [B, S] to actions [B, A].
    critic: observation [B, S] and action [B, A] to a distribution of the return.
    target_policy: like `policy`.
    target_critic: like `critic`.
  """

  def __init__(self, spec: specs.EnvironmentSpec, normalize_observations: bool):
    self._spec = spec
    self.normalizer = networks_lib.Normalizer(
      spec.observations.shape[0], normalize_observations, name='normalizer'
    )
    self.policy, self.critic = self._make()
    self.target_policy, self.target_critic = self._make()

  def _make(self):
    networks = d4pg_networks.make_default_networks(self._spec.actions)
    policy, critic = networks['policy'], networks['critic']
    with warnings.catch_warnings():  # Keras's, of what is mended below.
      warnings.simplefilter('ignore', UserWarning)
      tf2_utils.create_variables(policy, [self._spec.observations])
      tf2_utils.create_variables(critic, [self._spec.observations, self._spec.actions])
    for network in (policy, critic):
      _draw_hidden_kernels(network)
    return policy, critic

  def make_acting_policy(self) -> ActingPolicy:
    """Returns the online policy on raw observations, which shares the weights."""
    return ActingPolicy(self.normalizer, self.policy)


def _draw_hidden_kernels(network: snt.Module):
  """Draws hidden kernels anew, each by itself, from Acme's distribution.

  Acme shares one initializer between them, and Keras's returns the same values at each
  call since 2.12: layers of one size would start alike.
  """
  draw = snt.initializers.VarianceScaling(0.333, 'fan_out', 'uniform')
  for mlp in network.submodules:
    if isinstance(mlp, acme_networks.LayerNormMLP):
      for layer in mlp.submodules:
        if isinstance(layer, snt.Linear):
          layer.w.assign(draw(layer.w.shape, layer.w.dtype))


class _Transitions:
  """An iterator's batches as Acme's transitions, their observations counted.

  Acme's learner takes the next batch within its `tf.function`, so this is traced there.
  """

  def __init__(self, iterator: Iterator[reverb.ReplaySample], normalizer, config):
    self._iterator, self._normalizer, self._config = iterator, normalizer, config

  def __next__(self) -> reverb.ReplaySample:
    sample = next(self._iterator)
    window = batches.Window.of(sample.data, self._normalizer.mean.shape[0])
    self._normalizer.update(window.observation[:, 0])
    batch = batches.prepare(window, self._normalizer, self._config)
    return sample._replace(
      data=types.Transition(batch.observation, batch.action, *batch.outcome)
    )


class D4PGLearner(acme.Learner):
  """Acme's learner, called, counted and logged as `DSDPGLearner` is."""

  def __init__(
    self,
    networks: D4PGNetworks,
    config: config_lib.DSDPGConfig,
    iterator: Iterator[reverb.ReplaySample],
    counter: counting.Counter,
    logger: loggers.Logger,
    log_every: int,
  ):
    """Initializes the learner; see `learning.DSDPGLearner`."""
    self._counter, self._logger, self._log_every = counter, logger, log_every
    self._optimizers = {
      'policy_optimizer': snt.optimizers.Adam(config.policy_learning_rate),
      'critic_optimizer': snt.optimizers.Adam(config.critic_learning_rate),
    }
    for name in ('policy', 'critic'):
      variables = getattr(networks, name).trainable_variables
      optimizers.create_sonnet_slots(self._optimizers[f'{name}_optimizer'], variables)
    self._networks = dict(
      policy_network=networks.policy,
      critic_network=networks.critic,
      target_policy_network=networks.target_policy,
      target_critic_network=networks.target_critic,
    )
    self._normalizer = networks.normalizer
    self._acting_variables = networks.make_acting_policy().variables
    self._last = _LastRow()
    self._learner = d4pg_learning.D4PGLearner(
      **self._networks,
      **self._optimizers,
      discount=1.0,  # It is in the transitions'.
      target_update_period=100,
      dataset_iterator=_Transitions(iterator, networks.normalizer, config),
      # It would add its wall time to the counts.
      counter=counting.Counter(),
      logger=self._last,
      checkpoint=False,
    )
    # Acme offers no public way. The count says when the targets are next updated.
    self._num_steps = self._learner._num_steps

  def step(self):
    """Takes `UPDATES_PER_CALL` steps, a batch each."""
    for _ in range(config_lib.UPDATES_PER_CALL):
      self._learner.step()
      counts = self._counter.increment(steps=1)
      if int(self._num_steps) % self._log_every == 0:
        losses = {k: self._last.row[k].numpy() for k in ('critic_loss', 'policy_loss')}
        self._logger.write({**losses, **counts})

  def get_variables(self, names: Sequence[str]) -> List[List[np.ndarray]]:
    """Returns weights: under 'policy' the acting policy's, the normalizer's included."""
    variables = {
      'policy': self._acting_variables,
      'critic': self._networks['critic_network'].variables,
    }
    return [[v.numpy() for v in variables[name]] for name in names]

  @property
  def state(self) -> Mapping[str, tf.Module]:
    """Everything a checkpoint needs to go on as if nothing had happened."""
    return {
      **self._networks,
      **self._optimizers,
      'normalizer': self._normalizer,
      'num_steps': self._num_steps,
    }


class _LastRow(loggers.Logger):
  """Keeps the last row."""

  def write(self, data: Mapping[str, Any]):
    self.row = dict(data)

  def close(self):
    pass


class D4PGBuilder(builder_lib.DSDPGBuilder):
  """`DSDPGBuilder` with Acme's networks and learner."""

  def make_networks(
    self, environment_spec: specs.EnvironmentSpec, seed: int = 0
  ) -> D4PGNetworks:
    """Builds Acme's networks; weights follow TensorFlow's global seed, not `seed`."""
    del seed
    networks_lib.check_spec(environment_spec)
    return D4PGNetworks(environment_spec, self._config.normalize_observations)

  def make_dataset_iterator(
    self, replay_client: reverb.Client
  ) -> Iterator[reverb.ReplaySample]:
    """Yields the batch of one step at a time."""
    return iter(self._make_dataset(replay_client, num_ahead=1).prefetch(1))

  def _make_greedy_policy(self, environment_spec, policy) -> policies.BehaviorPolicy:
    return policies.TracedPolicy(policy)

  def make_learner(
    self,
    environment_spec: specs.EnvironmentSpec,
    networks: D4PGNetworks,
    dataset: Iterator[reverb.ReplaySample],
    seed: int = 0,
    counter: Optional[counting.Counter] = None,
    logger: Optional[loggers.Logger] = None,
    log_every: int = config_lib.ExperimentConfig.log_every,
    max_skipped_updates: int = config_lib.FaultLimits.max_skipped_updates,
  ) -> D4PGLearner:
    """Makes Acme's learner on `networks`."""
    del environment_spec, seed, max_skipped_updates  # Acme's skips none.
    return D4PGLearner(
      networks,
      self._config,
      dataset,
      counting.Counter() if counter is None else counter,
      loggers.NoOpLogger() if logger is None else logger,
      log_every,
    )
