"""The agent's networks, and the factory that builds them from spec and config."""

import dataclasses
from typing import Optional, Union

from acme import specs
import numpy as np
import tensorflow as tf

from acme_dsdpg import config as config_lib
from acme_dsdpg.networks import layers
from acme_dsdpg.networks.critic import Critic, CriticEnsemble
from acme_dsdpg.networks.policy import ActingPolicy, Normalizer, Policy
from acme_dsdpg.networks.world_model import WorldModel

__all__ = [
  'ActingPolicy',
  'Critic',
  'CriticEnsemble',
  'DSDPGNetworks',
  'Normalizer',
  'Policy',
  'WorldModel',
  'make_networks',
]


@dataclasses.dataclass
class DSDPGNetworks:
  """Built Keras models; policy, critic and world model see normalised observations.

  Attributes:
    normalizer: raw observations [B, S] to normalised ones.
    policy: [B, S] to actions [B, A].
    critic: observation [N, S], action [N, A], noise [N, K] to returns [N]; an ensemble
      where there are several.
    world_model: None where targets are observed.
  """

  normalizer: Normalizer
  policy: Policy
  critic: Union[Critic, CriticEnsemble]
  world_model: Optional[WorldModel]

  def make_acting_policy(self) -> ActingPolicy:
    """The policy on raw observations. Shares the weights."""
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
  stream = layers.seeds(seed)
  observation_size, action_size = spec.observations.shape[0], spec.actions.shape[0]
  noise_dim = config.noise_dim if config.critic == 'samples' else 0
  mlp = dict(hidden_sizes=config.hidden_sizes, layer_norm=config.layer_norm, dtype=dtype)
  # One seed for each network whether or not it is there: the presets then start
  # from the same policy.
  policy_seed, critic_seed, model_seed = (next(stream) for _ in range(3))
  critic_seeds = [critic_seed, *(next(stream) for _ in range(config.num_critics - 1))]
  critics = [
    Critic(
      (observation_size, action_size, noise_dim),
      seed=critic_seed,
      name=f'critic_{i}' if i else 'critic',
      **mlp,
    )
    for i, critic_seed in enumerate(critic_seeds)
  ]
  networks = DSDPGNetworks(
    normalizer=Normalizer(
      observation_size, config.normalize_observations, dtype=dtype, name='normalizer'
    ),
    policy=Policy(spec.actions, seed=policy_seed, name='policy', **mlp),
    critic=CriticEnsemble(critics, name='critics') if len(critics) > 1 else critics[0],
    world_model=WorldModel(
      observation_size,
      config.world_model_hidden_sizes,
      model_seed,
      config.normalize_outcomes,
      dtype=dtype,
      name='world_model',
    )
    if config.uses_world_model
    else None,
  )
  observation = tf.zeros([1, observation_size], dtype)
  action = tf.zeros([1, action_size], dtype)
  networks.policy(networks.normalizer(observation))
  for critic in critics:
    critic(observation, action, tf.zeros([1, noise_dim], dtype))
  if networks.world_model is not None:
    networks.world_model(observation, action, tf.zeros([1], dtype), observation)
  return networks


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
