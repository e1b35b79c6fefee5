"""Configs that earlier versions have recorded; `recorded/` has one of each kind."""

import json
import pathlib
import shutil

import pytest

from acme_dsdpg import config as config_lib
from acme_dsdpg.agent import presets
from acme_dsdpg.running import recorded_config, run_directory
from tests.running import runs

RECORDED = pathlib.Path(__file__).with_name('recorded')
# What of them this version cannot say.
RETIRED = {
  'first_curves_dsdpg': {},  # 49 fields.
  'first_curves_anchored_n_step': {'targets': 'anchored', 'linear_return_weight': 100.0},
  'd4pg': {},
  'bounded_gradients': {
    'max_sobolev_ratio': 0.5, 'return_kernel_weight': 1.0, 'linear_return_weight': 100.0
  },
  'two_gradient_scales': {
    'action_gradient_scale': 1.0, 'state_gradient_scale': 0.1,
    'linear_return_weight': 100.0,
  },
  # 61 fields, those of 0.5.0.
  'two_critics': {'num_critics': 2, 'linear_return_weight': 100.0},
  # The default agent before the critic of features.
  'anchored_samples': {'linear_return_weight': 100.0, 'gradient_scale': 0.1},
}  # fmt: skip
LAST_COMMIT = {name: 'c179efa' for name in RETIRED} | {'anchored_samples': 'df7be3b'}


def _read(name):
  return recorded_config.read((RECORDED / f'{name}.json').read_text())


def _recorded(name):
  return json.loads((RECORDED / f'{name}.json').read_text())


def test_every_run_that_is_kept_can_be_plotted():
  paths = list(runs.ROOT.glob('results/**/config.json'))
  assert paths
  for path in paths:
    assert run_directory.load(str(path.parent)).env in str(path)


@pytest.mark.parametrize(('name', 'retired'), RETIRED.items())
def test_what_is_on_of_the_retired_fields_is_named(name, retired):
  assert _read(name).retired == retired


@pytest.mark.parametrize('name', RETIRED)
def test_what_both_versions_have_is_as_it_was_recorded(name):
  recorded, now = _recorded(name), config_lib.flatten(_read(name).config)
  if name != 'd4pg':  # See below.
    recorded.update(recorded['dsdpg'])
  both = recorded.keys() & now.keys() - {'targets'}
  tuples = {k: tuple(v) if isinstance(v, list) else v for k, v in recorded.items()}
  assert {k: now[k] for k in both} == {k: tuples[k] for k in both}


def test_a_baseline_keeps_the_fields_that_applied_to_it():
  recorded, config = _recorded('d4pg')['dsdpg'], _read('d4pg').config
  for field in ('n_step', 'batch_size', 'samples_per_insert', 'sigma', 'discount'):
    assert getattr(config.dsdpg, field) == recorded[field]
  # Recorded, and not used: it had Acme's, on raw observations.
  assert recorded['policy_learning_rate'] == 3e-4
  assert config.dsdpg.policy_learning_rate == 1e-4
  assert recorded['normalize_observations']
  assert not config.dsdpg.normalize_observations


@pytest.mark.parametrize(
  ('name', 'targets'),
  [('first_curves_dsdpg', 'reconstructed'), ('two_critics', 'anchored')],
)
def test_renamed_values_are_read_under_their_new_names(name, targets):
  assert _read(name).config.dsdpg.targets == targets


def test_a_field_younger_than_the_record_has_the_value_that_changes_nothing():
  config = _read('first_curves_dsdpg').config
  assert config.limits == config_lib.FaultLimits()
  agent = config.dsdpg
  assert (agent.world_model, agent.trust, agent.num_directions) == ('cvae', 'none', 0)
  assert not agent.predictive_critic


def test_a_critic_older_than_the_prediction_sees_none():
  values = json.loads(presets.make_config({}).to_json())
  assert values['dsdpg'].pop('predictive_critic')
  agent = recorded_config.read(json.dumps(values)).config.dsdpg
  assert (agent.predictive_critic, agent.world_model) == (False, 'mean')


@pytest.mark.parametrize('name', RETIRED)
def test_a_run_resumes_where_every_retired_field_is_off(name, tmp_path):
  shutil.copy(RECORDED / f'{name}.json', tmp_path / 'config.json')
  config = run_directory.load(str(tmp_path))
  before = (tmp_path / 'config.json').read_text()
  if not RETIRED[name]:
    assert run_directory.prepare(str(tmp_path), config, fresh=False)
    # From now on it is one of this version's.
    assert run_directory.load(str(tmp_path), resumable=True) == config
    return
  with pytest.raises(config_lib.ConfigError) as caught:
    run_directory.prepare(str(tmp_path), config, fresh=False)
  for field, value in RETIRED[name].items():
    assert f'{field}={value!r}' in str(caught.value)
  assert f'resumed at commit {LAST_COMMIT[name]}.' in str(caught.value)
  assert (tmp_path / 'config.json').read_text() == before


@pytest.mark.parametrize(
  ('field', 'off', 'on'),
  [
    ('kernel', 'multiquadric', 'rbf'),
    ('linear_gradient_weight', 0.0, 1.0),
    ('max_sobolev_ratio', 0.0, 0.5),
    ('normalize_outcomes', False, True),
    ('num_dropped_samples', 0, 2),
    ('policy_pre_activation_weight', 0.0, 0.01),
    ('prefetch_size', 2, 8),
    ('replay_table_name', 'priority_table', 'my_table'),
    ('return_kernel_weight', 0.0, 1.0),
    ('samples_per_insert_tolerance_rate', 0.1, 0.2),
    ('world_model_updates', 1, 4),
    ('policy_num_samples', 10, 50),
    ('num_critics', 1, 2),
    ('linear_return_weight', 0.0, 100.0),
    ('gradient_scale', 1.0, 0.1),
    ('rbf_bandwidths', [1.0], None),  # Of a kernel that was not used.
    ('rational_quadratic_alpha', 2.0, None),
  ],
)
def test_each_retired_field_is_off_at_one_value(field, off, on):
  recorded = _recorded('first_curves_dsdpg')
  for scale in ('action_gradient_scale', 'state_gradient_scale'):
    del recorded['dsdpg'][scale]  # The elder name of one of them.
  recorded['dsdpg'][field] = off
  assert not recorded_config.read(json.dumps(recorded)).retired
  if on is not None:
    recorded['dsdpg'][field] = on
    assert recorded_config.read(json.dumps(recorded)).retired == {field: on}


def test_a_policy_number_of_samples_is_nothing_to_a_point_critic():
  recorded = _recorded('first_curves_dsdpg')
  recorded['dsdpg'].update(critic='point', policy_num_samples=50)
  assert not recorded_config.read(json.dumps(recorded)).retired


@pytest.mark.parametrize(
  ('field', 'switches'),
  [
    ('linear_return_weight', dict(critic='point')),
    ('gradient_scale', dict(critic='point')),
    ('gradient_scale', dict(sobolev='none', targets='reconstructed')),
  ],
)
def test_a_kernels_fields_are_nothing_to_agents_that_did_not_use_them(field, switches):
  recorded = _recorded('anchored_samples')
  off = dict(linear_return_weight=0.0, gradient_scale=1.0)
  recorded['dsdpg'].update({**off, field: 0.5})
  assert recorded_config.read(json.dumps(recorded)).retired == {field: 0.5}
  recorded['dsdpg'].update(switches)
  assert not recorded_config.read(json.dumps(recorded)).retired


@pytest.mark.parametrize('agent', presets.AGENTS)
def test_what_this_version_records_it_reads(agent):
  config = presets.make_config({'agent': agent, 'max_skipped_updates': 3, 'seed': 7})
  recorded = recorded_config.read(config.to_json())
  assert (recorded.config, recorded.retired) == (config, {})


def test_what_a_record_lacks_is_the_default_and_not_what_a_preset_makes_of_it(
  monkeypatch,
):
  preset = {**presets.AGENTS['ddpg'], 'sigma': 0.7}
  monkeypatch.setitem(presets.AGENTS, 'ddpg', preset)
  recorded = json.loads(presets.make_config({'agent': 'ddpg'}).to_json())
  assert recorded['dsdpg'].pop('sigma') == 0.7
  default = config_lib.DSDPGConfig().sigma
  assert recorded_config.read(json.dumps(recorded)).config.dsdpg.sigma == default


def test_unknown_fields_and_bad_values_are_refused():
  recorded = _recorded('two_critics')
  recorded['dsdpg']['num_smaples'] = 3
  with pytest.raises(config_lib.ConfigError, match='Did you mean num_samples'):
    recorded_config.read(json.dumps(recorded))
  recorded = _recorded('two_critics')
  recorded['dsdpg']['batch_size'] = -1
  with pytest.raises(config_lib.ConfigError, match='batch_size=-1'):
    recorded_config.read(json.dumps(recorded))
