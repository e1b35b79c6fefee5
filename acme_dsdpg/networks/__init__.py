"""The agent's networks, and the factory that builds them from spec and config."""

import dataclasses
import itertools
from typing import NamedTuple, Optional, Union

from acme import specs
import numpy as np
import tensorflow as tf

from acme_dsdpg import config as config_lib
from acme_dsdpg.networks import layers
from acme_dsdpg.networks.critic import Critic, FunctionCritic
from acme_dsdpg.networks.feature_critic import FeatureCritic
from acme_dsdpg.networks.policy import ActingPolicy, Normalizer, Policy
from acme_dsdpg.networks.world_model import WorldModel

__all__ = [
  'ActingPolicy',
  'AnyCritic',
  'Critic',
  'DSDPGNetworks',
  'FeatureCritic',
  'FunctionCritic',
  'Normalizer',
  'Policy',
  'WorldModel',
  'check_spec',
  'make_critic',
  'make_networks',
  'make_policy',
]

AnyCritic = Union[Critic, FeatureCritic]


@dataclasses.dataclass
class DSDPGNetworks:
  """Built Keras models; policy, critic and world model see normalised observations.

  Attributes:
    normalizer: raw observations [B, S] to normalised ones.
    policy: [B, S] to actions [B, A].
    critic: samples of the return; the paper's, or one of features.
    world_model: None where neither targets nor critic need it.
  """

  normalizer: Normalizer
  policy: Policy
  critic: AnyCritic
  world_model: Optional[WorldModel]

  def make_acting_policy(self) -> ActingPolicy:
    """Returns the policy on raw observations, which shares the weights."""
    return ActingPolicy(self.normalizer, self.policy)


def make_networks(
  spec: specs.EnvironmentSpec,
  config: config_lib.DSDPGConfig,
  seed: int = 0,
  dtype: tf.DType = tf.float32,
) -> DSDPGNetworks:
  """Builds the networks for an environment; the same seed, the same weights.

  Args:
    spec: flat observations [S], bounded continuous actions [A].
    config: the agent.
    seed: of the initial weights.
    dtype: of the weights.

  Raises:
    ConfigError: observations or actions the agent cannot handle.
  """
  check_spec(spec)
  world_model = (
    _make_world_model(spec, config, seed, dtype) if config.uses_world_model else None
  )
  return DSDPGNetworks(
    normalizer=Normalizer(
      spec.observations.shape[0],
      config.normalize_observations,
      dtype=dtype,
      name='normalizer',
    ),
    policy=make_policy(spec, config, seed, dtype),
    critic=make_critic(spec, config, world_model, seed, dtype),
    world_model=world_model,
  )


def make_policy(
  spec: specs.EnvironmentSpec,
  config: config_lib.DSDPGConfig,
  seed: int = 0,
  dtype: tf.DType = tf.float32,
) -> Policy:
  """Builds the policy of `make_networks`, from the same weights."""
  policy = Policy(
    spec.actions, seed=_seeds(seed).policy, name='policy', **_mlp(config, dtype)
  )
  policy(tf.zeros([1, *spec.observations.shape], dtype))
  return policy


def make_critic(
  spec: specs.EnvironmentSpec,
  config: config_lib.DSDPGConfig,
  world_model: Optional[WorldModel],
  seed: int = 0,
  dtype: tf.DType = tf.float32,
) -> AnyCritic:
  """Builds the critic of `make_networks`, from the same weights.

  Args:
    spec: as there.
    config: as there.
    world_model: whose prediction the critic sees, if it sees one.
    seed: as there.
    dtype: as there.
  """
  sizes = spec.observations.shape[0], spec.actions.shape[0]
  common = dict(seed=_seeds(seed).critic, name='critic', **_mlp(config, dtype))
  if config.critic == 'samples':
    return Critic((*sizes, config.noise_dim), **common)
  num_features = config.num_features if config.critic == 'features' else 0
  predict = world_model.mean if config.sees_prediction else None
  return FeatureCritic(sizes, num_features, predict=predict, **common)


def _make_world_model(spec, config, seed, dtype) -> WorldModel:
  model = WorldModel(
    (spec.observations.shape[0], spec.actions.shape[0]),
    config.world_model_hidden_sizes,
    _seeds(seed).world_model,
    config.world_model,
    dtype=dtype,
    name='world_model',
  )
  observation = tf.zeros([1, *spec.observations.shape], dtype)
  action = tf.zeros([1, *spec.actions.shape], dtype)
  model(observation, action, tf.zeros([1], dtype), observation)
  return model


def _mlp(config, dtype):
  return dict(hidden_sizes=config.hidden_sizes, layer_norm=config.layer_norm, dtype=dtype)


class _Seeds(NamedTuple):
  policy: int
  critic: int
  world_model: int


def _seeds(seed: int) -> _Seeds:
  """One for each network whether or not it is there: all presets share the policy's."""
  return _Seeds(*itertools.islice(layers.seeds(seed), len(_Seeds._fields)))


def check_spec(spec: specs.EnvironmentSpec):
  """Raises ConfigError, in a sentence, on a spec the agent cannot handle."""
  error = config_lib.ConfigError
  observations, actions = spec.observations, spec.actions
  if not isinstance(observations, specs.Array) or len(observations.shape) != 1:
    raise error(
      f'Observations must be one flat vector, not {observations!r}: wrap the '
      'environment with acme_dsdpg.environments.wrap.'
    )
  if isinstance(actions, specs.DiscreteArray) or not isinstance(
    actions, specs.BoundedArray
  ):
    raise error(f'Actions must be continuous with bounds, not {actions!r}.')
  if len(actions.shape) != 1 or not np.issubdtype(actions.dtype, np.floating):
    raise error(f'Actions must be one vector of floats, not {actions!r}.')
  bounds = np.stack(np.broadcast_arrays(actions.minimum, actions.maximum))
  if not np.all(np.isfinite(bounds)) or np.any(bounds[0] >= bounds[1]):
    raise error(f'Action bounds must be finite, minimum below maximum: {actions!r}.')
