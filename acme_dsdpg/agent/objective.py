"""What critic and policy learn: the interface of the two kinds, and what they share."""

import abc
from typing import Any, List, NamedTuple

import tensorflow as tf

from acme_dsdpg import config as config_lib
from acme_dsdpg import networks as networks_lib
from acme_dsdpg.agent import batches
from acme_dsdpg.agent.batches import Batch
from acme_dsdpg.agent.metrics import Metrics
from acme_dsdpg.losses import kernels, sobolev


class Seeds(NamedTuple):
  """Stateless seeds, int [2] each, of one step."""

  model: tf.Tensor
  latent: tf.Tensor
  target: tf.Tensor
  critic: tf.Tensor
  policy: tf.Tensor
  directions: tf.Tensor


class Update(NamedTuple):
  """Gradients of one network's loss, in the order of its variables, and metrics."""

  gradients: List[tf.Tensor]
  metrics: Metrics


class Objective(abc.ABC):
  """The losses of critic and policy. A target is whatever its maker understands."""

  def __init__(
    self,
    config: config_lib.DSDPGConfig,
    networks: networks_lib.DSDPGNetworks,
    target_policy: networks_lib.Policy,
    target_critic: networks_lib.AnyCritic,
  ):
    """Initializes the objective; see `learning.DSDPGLearner`."""
    self._config = config
    self._networks = networks
    self._target_policy = target_policy
    self._target_critic = target_critic
    self._kernel = kernels.Multiquadric(config.multiquadric_h)

  @abc.abstractmethod
  def bellman_target(self, batch: Batch, seeds: Seeds) -> Any:
    """Computes what the critic learns from the batch, constants."""

  @abc.abstractmethod
  def critic_update(self, batch: Batch, target: Any, seeds: Seeds) -> Update:
    """Computes the critic's loss and its gradients."""

  @abc.abstractmethod
  def policy_update(self, batch: Batch, seeds: Seeds) -> Update:
    """Computes the policy's loss and its gradients."""


def infer_latent(
  world_model: networks_lib.WorldModel, batch: Batch, seed: tf.Tensor
) -> tf.Tensor:
  """Draws the latent that explains the observed outcome, [B, L], a constant."""
  outcome = batch.model_outcome
  posterior = world_model.encode(
    batch.observation, batch.action, outcome.reward, outcome.next_observation
  )
  return tf.stop_gradient(posterior.sample(seed=seed))


def transition_model(
  config: config_lib.DSDPGConfig,
  world_model: networks_lib.WorldModel,
  batch: Batch,
  latent: tf.Tensor,
) -> sobolev.Model:
  """Makes (s, a) -> (R, s+), as `config.targets` has it, at a latent [B, L]."""
  if config.targets == 'observed':
    return batches.observed(batch.outcome)
  decode = lambda observation, action: world_model.decode(observation, action, latent)
  if config.targets == 'reconstructed':
    return decode
  outcome = batch.model_outcome
  return sobolev.anchored(decode, outcome.reward, outcome.next_observation)
