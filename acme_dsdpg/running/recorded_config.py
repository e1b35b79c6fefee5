"""The config that a run has recorded, in this version or an earlier one.

Fields that have left the project are listed with the value at which they did nothing.
A run at that value is a run of today's. At another it can be plotted and evaluated,
but not resumed. Fields that a run is older than have the value at which it is today's
run. TensorFlow is not imported here.
"""

import dataclasses
import json
from typing import Any, Dict, Mapping, Tuple

from acme_dsdpg import config as config_lib
from acme_dsdpg.agent import presets

# The last ones that had all of a run's fields: version 0.5.0, and before the critic of
# features.
_COMMIT_0_5_0 = 'c179efa'
_COMMIT_0_6_0 = 'df7be3b'

# Field of the agent up to 0.5.0: its value that meant "off".
_RETIRED: Mapping[str, Any] = {
  'kernel': 'multiquadric',
  'linear_gradient_weight': 0.0,
  'max_sobolev_ratio': 0.0,
  'normalize_outcomes': False,
  'num_dropped_samples': 0,
  'policy_pre_activation_weight': 0.0,
  'prefetch_size': 2,
  'replay_table_name': 'priority_table',
  'return_kernel_weight': 0.0,
  'samples_per_insert_tolerance_rate': 0.1,
  'world_model_updates': 1,
}
# The same, of fields up to `_COMMIT_0_6_0`.
_RETIRED_LATER: Mapping[str, Any] = {
  'num_critics': 1,
  'linear_return_weight': 0.0,
  'gradient_scale': 1.0,
}
# Field of the agent younger than `_COMMIT_0_6_0`: what older runs had.
_YOUNGER: Mapping[str, Any] = {
  'predictive_critic': False,
  'world_model': 'cvae',
  'trust': 'none',
  'num_directions': 0,
}
# Parameters of kernels other than the multiquadric.
_IGNORED = ('rbf_bandwidths', 'rational_quadratic_alpha')
# Fields of a baseline that were recorded, but did not apply to it, up to 0.5.0.
_NOT_OF_BASELINES = (
  'normalize_observations', 'policy_learning_rate', 'critic_learning_rate',
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class RecordedConfig:
  """The config of a run, as today's config can say it, and the rest.

  Attributes:
    config: the fields that today's config has.
    retired: the values of retired fields that were not off, by name.
    commit: the last one that can resume the run if there are any.
  """

  config: config_lib.ExperimentConfig
  retired: Mapping[str, Any]
  commit: str

  def check_resumable(self, path: str):
    """Raises ConfigError, naming the commit, where the run needs retired fields."""
    if self.retired:
      fields = ', '.join(f'{name}={value!r}' for name, value in self.retired.items())
      raise config_lib.ConfigError(
        f'{path!r} is a run with {fields}, which this version does not have: it can be '
        f'plotted and evaluated, and resumed at commit {self.commit}.'
      )


def read(text: str) -> RecordedConfig:
  """Reads the JSON of `ExperimentConfig.to_json`, of this version or an earlier one.

  A field younger than the text has the value at which the run is today's, or else its
  default. A baseline's fields that do not apply to it are today's defaults, whatever
  they were.

  Raises:
    ConfigError: unknown fields or bad values.
    ValueError, KeyError, TypeError, AttributeError: the text is no such JSON.
  """
  values = json.loads(text)
  agent_name = values['agent']
  of_run = {k: v for k, v in values.items() if k not in config_lib.GROUPS}
  of_run.update(values.get('limits', {}))
  of_agent, retired = _without_retired(values['dsdpg'])
  if agent_name in presets.BASELINES:
    of_agent = {k: v for k, v in of_agent.items() if k in presets.BASELINE_FIELDS}
    retired = {}
    if 'kernel' in values['dsdpg']:
      for name in _NOT_OF_BASELINES:
        of_agent.pop(name, None)
  else:  # Not what the preset makes of them today.
    defaults = dataclasses.asdict(config_lib.DSDPGConfig())
    of_agent = {**defaults, **_YOUNGER, **of_agent}
  flat = {**of_agent, **of_run}
  is_0_6_0 = 'kernel' not in values['dsdpg'] and retired.keys() <= _RETIRED_LATER.keys()
  commit = _COMMIT_0_6_0 if is_0_6_0 else _COMMIT_0_5_0
  return RecordedConfig(presets.make_config(flat), retired, commit)


_Fields = Dict[str, Any]


def _without_retired(recorded: Mapping[str, Any]) -> Tuple[_Fields, _Fields]:
  """Splits the agent's fields into today's and the retired ones that were not off."""
  kept = {k: v for k, v in recorded.items() if k not in (*_RETIRED, *_IGNORED)}
  given = {name: recorded.get(name, off) for name, off in _RETIRED.items()}
  retired = {name: value for name, value in given.items() if value != _RETIRED[name]}
  if 'policy_num_samples' in kept:
    number = kept.pop('policy_num_samples')
    if kept['critic'] == 'samples' and number != kept['num_samples']:
      retired['policy_num_samples'] = number
  if 'action_gradient_scale' in kept:
    scales = [kept.pop(f'{of}_gradient_scale', 1.0) for of in ('action', 'state')]
    if kept['sobolev'] == 'state_action' and scales[0] != scales[1]:
      retired['action_gradient_scale'], retired['state_gradient_scale'] = scales
    else:
      kept['gradient_scale'] = scales[0]
  if 'kernel' in recorded:
    if kept['targets'] == 'anchored' and kept['n_step'] > 1:
      retired['targets'] = 'anchored'  # Of N steps.
    if kept['targets'] == 'anchored_one_step':
      kept['targets'] = 'anchored'
  later = {k: kept.pop(k, off) for k, off in _RETIRED_LATER.items()}
  if kept['critic'] == 'point':  # It had no kernel.
    later['linear_return_weight'], later['gradient_scale'] = 0.0, 1.0
  if kept['sobolev'] == 'none':
    later['gradient_scale'] = 1.0
  on = {k: value for k, value in later.items() if value != _RETIRED_LATER[k]}
  return kept, {**retired, **on}
