"""The agent of a run, as its newest checkpoint has it."""

import os
from typing import Callable, NamedTuple

from acme import specs
import numpy as np
import tensorflow as tf

from acme_dsdpg import config as config_lib
from acme_dsdpg import networks as networks_lib
from acme_dsdpg.agent import policies, presets
from acme_dsdpg.running import checkpointing


class TrainedAgent(NamedTuple):
  """A trained agent.

  Attributes:
    config: the agent's.
    networks: with the trained weights.
    policy: without noise, raw observation [S] to action [A].
  """

  config: config_lib.DSDPGConfig
  networks: networks_lib.DSDPGNetworks
  policy: Callable[[np.ndarray], np.ndarray]


def load(
  workdir: str, config: config_lib.ExperimentConfig, spec: specs.EnvironmentSpec
) -> TrainedAgent:
  """Loads the agent of the newest checkpoint.

  Args:
    workdir: the run directory.
    config: the run's.
    spec: of its environment.

  Raises:
    ConfigError: the run has no checkpoint, or networks that are not these.
  """
  if config.agent in presets.BASELINES:
    raise config_lib.ConfigError(
      f"agent={config.agent!r} has Acme's networks, which are not looked into."
    )
  checkpoint = checkpointing.newest(workdir)
  if checkpoint is None:
    raise config_lib.ConfigError(f'{workdir!r} has no checkpoint.')
  networks = networks_lib.make_networks(spec, config.dsdpg, config.seed)
  parts = {k: v for k, v in vars(networks).items() if v is not None}
  reader = tf.train.Checkpoint(**parts)
  try:
    status = reader.read(os.path.join(checkpoint.path, 'learner'))
    status.expect_partial().assert_existing_objects_matched()
  except (ValueError, AssertionError) as e:  # Other shapes; other variables.
    raise config_lib.ConfigError(
      f'{checkpoint.path!r} has networks that are not those of {config.env}-'
      f'{config.task}: was the environment one of your own?'
    ) from e
  policy = policies.NumpyPolicy(
    networks.make_acting_policy(), spec.actions, config.dsdpg.normalize_observations
  )
  return TrainedAgent(config.dsdpg, networks, policy)
