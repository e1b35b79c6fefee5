"""Builders of agents by name."""

from acme_dsdpg import config as config_lib
from acme_dsdpg.agent import builder as builder_lib
from acme_dsdpg.agent import d4pg, presets


def make_builder(agent: str, config: config_lib.DSDPGConfig) -> builder_lib.DSDPGBuilder:
  """Makes the builder of an agent (`presets.AGENTS`)."""
  is_baseline = agent in presets.BASELINES
  return d4pg.D4PGBuilder(config) if is_baseline else builder_lib.DSDPGBuilder(config)
