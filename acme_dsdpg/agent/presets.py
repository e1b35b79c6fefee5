"""The agents by name, each as changes to the defaults, and whole configs from them.

The agents of the paper are settings of three independent switches (`critic`, `sobolev`,
`targets`) with the paper's world model. TensorFlow is not imported here.
"""

import json
import pathlib
from typing import Any, Dict, Mapping, Optional

from acme_dsdpg import config as config_lib

# The paper's points learn their whole gradient.
_PAPER = dict(
  predictive_critic=False, world_model='cvae', kl_weight=0.1, num_directions=0
)


def _paper(critic: str, sobolev: str, targets: str) -> Mapping[str, Any]:
  return dict(critic=critic, sobolev=sobolev, targets=targets, **_PAPER)


# Overrides of `DSDPGConfig`'s defaults (Figs. 5, 11, 12, but for the last).
PRESETS: Mapping[str, Mapping[str, Any]] = {
  'dsdpg': _paper('samples', 'action', 'reconstructed'),
  'dsdpg_state_action': _paper('samples', 'state_action', 'reconstructed'),
  'ddpg': _paper('point', 'none', 'observed'),
  'ddpg_mmd': _paper('samples', 'none', 'observed'),
  'ddpg_reconstructed': _paper('point', 'none', 'reconstructed'),
  'ddpg_mmd_reconstructed': _paper('samples', 'none', 'reconstructed'),
  'sobolev_ddpg': _paper('point', 'action', 'reconstructed'),
  'sobolev_ddpg_state_action': _paper('point', 'state_action', 'reconstructed'),
  # The project's own, and the default.
  'dsdpg_anchored': {},
}
# Agents of others in the same harness, with their own batch size and learning rates.
# Acme's D4PG draws 32 samples an insert: an update every 8 steps.
BASELINES: Mapping[str, Mapping[str, Any]] = {
  'd4pg': dict(
    _paper('point', 'none', 'observed'),
    batch_size=256,
    samples_per_insert=32.0,
    policy_learning_rate=1e-4,
    critic_learning_rate=1e-4,
    normalize_observations=False,
  )
}
# The fields of `DSDPGConfig` that apply to a baseline.
BASELINE_FIELDS = frozenset(
  (
    'discount', 'n_step', 'batch_size', 'sigma', 'min_replay_size', 'max_replay_size',
    'samples_per_insert', 'variable_update_period', 'normalize_observations',
    'policy_learning_rate', 'critic_learning_rate',
  )
)  # fmt: skip
AGENTS = {**PRESETS, **BASELINES}
DEFAULT_AGENT = config_lib.ExperimentConfig.agent

_ENVIRONMENTS = (
  pathlib.Path(__file__).resolve().parents[1] / 'configs' / 'environments.json'
)


def make_config(
  overrides: Mapping[str, Any], defaults: Optional[Mapping[str, Any]] = None
) -> config_lib.ExperimentConfig:
  """Resolves a config: the defaults, then the preset's, the env's, the overrides.

  Args:
    overrides: values by field name, of any of the dataclasses; what the user said.
    defaults: what differs for the environment (`env_overrides`).

  Raises:
    ConfigError: an unknown field or agent (the nearest names are given), or a bad value.
  """
  overrides = {name: config_lib.plain(value) for name, value in overrides.items()}
  given = {**(defaults or {}), **overrides}
  agent = given.get('agent', DEFAULT_AGENT)
  if not isinstance(agent, str):
    config_lib.ExperimentConfig(agent=agent)  # Raises, naming the type.
  config_lib.check_one_of('agent', agent, AGENTS)
  config = config_lib.unflatten({**AGENTS[agent], **given})
  if agent in BASELINES:
    _check_baseline(agent, overrides)
  return config


def _check_baseline(agent: str, overrides: Mapping[str, Any]):
  """Raises ConfigError on fields that the baseline does not have."""
  default = config_lib.DSDPGConfig(**BASELINES[agent])
  for name in sorted(vars(default).keys() & overrides.keys() - BASELINE_FIELDS):
    config_lib.check(
      overrides[name] == getattr(default, name),
      name,
      overrides[name],
      f"left out with agent={agent!r}, which has Acme's own networks and learner",
    )


def env_overrides(env: str) -> Dict[str, Any]:
  """Returns what `configs/environments.json` sets for a domain, nothing if not listed."""
  with open(_ENVIRONMENTS, encoding='utf-8') as file:
    values = json.load(file).get(env, {})
  return {name: value for name, value in values.items() if name != 'why'}
