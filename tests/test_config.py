"""Configuration: presets, precedence, checks, and what an error says."""

import dataclasses
import json
import math
import pathlib

import pytest

from acme_dsdpg import config as config_lib
from acme_dsdpg import environments
from acme_dsdpg.config import ConfigError, DSDPGConfig, ExperimentConfig, make_config
from acme_dsdpg.running import command_line

CONFIGS = pathlib.Path(__file__).resolve().parents[1] / 'configs'

# Fields of a config, a bad value, and what the message calls valid.
INVALID = [
  (dict(critic='points'), 'one of samples, point'),
  (dict(sobolev='state'), 'one of none, action, state_action'),
  (dict(targets='real'), 'one of observed, reconstructed, anchored'),
  (dict(kernel='gaussian'), 'one of multiquadric, rbf, rational_quadratic, linear'),
  (dict(num_samples=0), 'greater than 0'),
  (dict(policy_num_samples=-1), 'greater than 0'),
  (dict(noise_dim=0), 'greater than 0'),
  (dict(multiquadric_h=0.0), 'greater than 0'),
  (dict(rational_quadratic_alpha=-1.0), 'greater than 0'),
  (dict(n_step=0), 'greater than 0'),
  (dict(policy_learning_rate=0.0), 'greater than 0'),
  (dict(critic_learning_rate=-1e-3), 'greater than 0'),
  (dict(world_model_learning_rate=0.0), 'greater than 0'),
  (dict(world_model_updates=0), 'greater than 0'),
  (dict(agent='ddpg', world_model_updates=2), '1 with targets=observed'),
  (dict(batch_size=0), 'greater than 0'),
  (dict(min_replay_size=0), 'greater than 0'),
  (dict(max_replay_size=0), 'greater than 0'),
  (dict(samples_per_insert=0.0), 'greater than 0'),
  (dict(samples_per_insert_tolerance_rate=0.0), 'greater than 0'),
  (dict(prefetch_size=0), 'greater than 0'),
  (dict(variable_update_period=0), 'greater than 0'),
  (dict(return_kernel_weight=-1.0), '0 or greater'),
  (dict(max_sobolev_ratio=-1.0), '0 or greater'),
  (dict(agent='dsdpg', max_sobolev_ratio=0.5), 'the return alone'),
  (dict(agent='ddpg', max_sobolev_ratio=0.5), 'unless gradients are learned'),
  (dict(linear_return_weight=-1.0), '0 or greater'),
  (dict(linear_gradient_weight=-1.0), '0 or greater'),
  (dict(sobolev_weight=-1.0), '0 or greater'),
  (dict(policy_pre_activation_weight=-1.0), '0 or greater'),
  (dict(action_gradient_scale=-1.0), '0 or greater'),
  (dict(state_gradient_scale=-1.0), '0 or greater'),
  (dict(sigma=-0.1), '0 or greater'),
  (dict(kl_weight=-0.1), '0 or greater'),
  (dict(discount=0.0), r'in \(0, 1\]'),
  (dict(discount=1.01), r'in \(0, 1\]'),
  (dict(target_update_rate=0.0), 'greater than 0'),
  (dict(target_update_rate=1.5), r'in \(0, 1\]'),
  (dict(hidden_sizes=()), 'one or more numbers greater than 0'),
  (dict(hidden_sizes=(256, 0)), 'one or more numbers greater than 0'),
  (dict(world_model_hidden_sizes=(-1,)), 'one or more numbers greater than 0'),
  (dict(rbf_bandwidths=(0.0, 1.0)), 'one or more numbers greater than 0'),
  (dict(min_replay_size=100, max_replay_size=99), 'at most max_replay_size=99'),
  (dict(batch_size=101, min_replay_size=100), 'at most min_replay_size=100'),
  (dict(environment_timeout=0.0), 'greater than 0'),
  (dict(max_environment_faults=0), 'greater than 0'),
  (dict(max_skipped_updates=0), 'greater than 0'),
  (dict(starvation_timeout=-1.0), 'greater than 0'),
  (dict(targets='observed', sobolev='action'), 'when sobolev is not none'),
  (dict(targets='observed', sobolev='state_action'), 'when sobolev is not none'),
  (dict(num_samples=1, unbiased_mmd=True), '2 or more with unbiased_mmd'),
  (dict(num_critics=0), 'greater than 0'),
  (dict(num_dropped_samples=-1), '0 or greater'),
  (dict(num_samples=4, num_critics=2, num_dropped_samples=8), 'at most 7'),
  (dict(agent='ddpg', num_critics=2, num_dropped_samples=2), 'at most 1'),
  (
    dict(num_samples=4, num_critics=2, num_dropped_samples=7, unbiased_mmd=True),
    'at most 6',
  ),
  (dict(replay_table_name=''), 'a name'),
  (dict(agent='d5pg'), 'one of dsdpg, '),
  (dict(num_steps=0), 'greater than 0'),
  (dict(eval_every=0), 'greater than 0'),
  (dict(eval_episodes=0), 'greater than 0'),
  (dict(log_every=0), 'greater than 0'),
  (dict(checkpoint_every=0.0), 'greater than 0'),
  (dict(num_actors=0), 'greater than 0'),
  (dict(num_threads=-1), '0 or greater'),
  (dict(seed=-1), '0 or greater'),
  (dict(seed=2**31), r'below 2\*\*31'),
]
WRONG_TYPE = [
  (dict(num_samples=True), 'int'),
  (dict(num_samples=4.0), 'int'),
  (dict(num_samples='4'), 'int'),
  (dict(discount=True), 'float'),
  (dict(discount='0.9'), 'float'),
  (dict(jit_compile=1), 'bool'),
  (dict(critic=None), 'str'),
  (dict(agent=3), 'str'),
  (dict(task=3), 'a string'),
  (dict(hidden_sizes=[256, 256]), 'a tuple of ints'),
  (dict(hidden_sizes=256), 'a tuple of ints'),
  (dict(hidden_sizes=(256, 1.0)), 'a tuple of ints'),
  (dict(hidden_sizes=(True,)), 'a tuple of ints'),
  (dict(rbf_bandwidths=(1.0, 'a')), 'a tuple of floats'),
]
NOT_FINITE = [
  dict(discount=math.nan),
  dict(sigma=math.inf),
  dict(rbf_bandwidths=(1.0, math.nan)),
  dict(checkpoint_every=math.inf),
]


def _ids(cases):
  return [repr(case[0] if isinstance(case, tuple) else case) for case in cases]


# Presets.


@pytest.mark.parametrize('name', config_lib.PRESETS)
def test_every_preset_is_valid_and_recorded(name):
  config = make_config({'agent': name})
  assert config.agent == name
  for field, value in config_lib.PRESETS[name].items():
    assert getattr(config.dsdpg, field) == value


@pytest.mark.parametrize(
  ('name', 'switches'),
  [
    ('dsdpg', ('samples', 'action', 'reconstructed')),
    ('dsdpg_state_action', ('samples', 'state_action', 'reconstructed')),
    ('ddpg', ('point', 'none', 'observed')),
    ('ddpg_mmd', ('samples', 'none', 'observed')),
    ('ddpg_reconstructed', ('point', 'none', 'reconstructed')),
    ('ddpg_mmd_reconstructed', ('samples', 'none', 'reconstructed')),
    ('sobolev_ddpg', ('point', 'action', 'reconstructed')),
    ('sobolev_ddpg_state_action', ('point', 'state_action', 'reconstructed')),
  ],
)
def test_the_papers_agents_are_switches_and_the_papers_kernel(name, switches):
  dsdpg = make_config({'agent': name}).dsdpg
  assert (dsdpg.critic, dsdpg.sobolev, dsdpg.targets) == switches
  assert (dsdpg.kernel, dsdpg.multiquadric_h) == ('multiquadric', 100.0)
  assert dsdpg.linear_return_weight == dsdpg.linear_gradient_weight == 0.0
  assert dsdpg.return_kernel_weight == 0.0
  assert not dsdpg.unbiased_mmd


def test_the_default_agent_is_the_anchored_one():
  dsdpg = make_config({}).dsdpg
  assert (dsdpg.critic, dsdpg.sobolev, dsdpg.targets) == (
    'samples', 'state_action', 'anchored_one_step'
  )  # fmt: skip
  assert (dsdpg.linear_return_weight, dsdpg.linear_gradient_weight) == (100.0, 0.0)
  assert (dsdpg.action_gradient_scale, dsdpg.state_gradient_scale) == (0.1, 0.1)
  assert dsdpg.kl_weight == 1.0


def test_world_model_is_used_exactly_where_targets_are_not_observed():
  used = {
    t: DSDPGConfig(
      sobolev='none' if t == 'observed' else 'action', targets=t
    ).uses_world_model
    for t in config_lib.TARGETS
  }
  assert used == {t: t != 'observed' for t in used}


@pytest.mark.parametrize('targets', ['anchored', 'anchored_one_step'])
def test_anchored_targets_need_derivatives(targets):
  with pytest.raises(ConfigError, match='observed or reconstructed when sobolev is none'):
    DSDPGConfig(sobolev='none', targets=targets)


def test_a_baseline_refuses_what_does_not_apply_to_it():
  config = make_config(dict(agent='d4pg', batch_size=7, sigma=0.1))
  assert (config.agent, config.dsdpg.batch_size) == ('d4pg', 7)
  assert not config.dsdpg.uses_world_model
  with pytest.raises(ConfigError, match="left out with agent='d4pg'"):
    make_config(dict(agent='d4pg', critic_learning_rate=3e-4))
  assert ExperimentConfig.from_json(config.to_json()) == config


def test_a_recorded_baseline_outlives_defaults_that_do_not_apply_to_it():
  config = make_config(dict(agent='d4pg', batch_size=7))
  recorded = json.loads(config.to_json())
  recorded['dsdpg']['critic_learning_rate'] = 3e-4
  assert ExperimentConfig.from_json(json.dumps(recorded)) == config


@pytest.mark.parametrize(
  ('field', 'value'),
  [
    ('world_model_hidden_sizes', (8,)),
    ('world_model_learning_rate', 0.5),
    ('kl_weight', 0.5),
    ('normalize_outcomes', True),
  ],
)
def test_a_run_without_a_world_model_outlives_changes_of_one(field, value):
  changed = lambda agent: [
    difference.split()[0]
    for difference in config_lib.differences(
      make_config(dict(agent=agent)), make_config({'agent': agent, field: value})
    )
  ]
  assert changed('ddpg') == []
  assert changed('dsdpg') == changed('ddpg_reconstructed') == [field]


def test_updates_per_step():
  assert DSDPGConfig(batch_size=64, samples_per_insert=16.0).updates_per_step == 0.25


# Precedence.


def test_without_overrides_the_default_agent_has_the_dataclass_defaults():
  config = make_config({})
  preset = config_lib.PRESETS[config_lib.DEFAULT_AGENT]
  assert config == ExperimentConfig(dsdpg=DSDPGConfig(**preset))


def test_a_preset_overrides_the_defaults():
  assert DSDPGConfig().critic == 'samples'
  assert make_config({'agent': 'ddpg'}).dsdpg.critic == 'point'


def test_the_environment_overrides_the_preset():
  config = make_config({'agent': 'dsdpg'}, {'targets': 'anchored', 'env': 'cheetah'})
  assert (config.dsdpg.targets, config.env) == ('anchored', 'cheetah')


def test_the_user_overrides_everything():
  config = make_config(
    {'agent': 'dsdpg', 'targets': 'reconstructed', 'n_step': 2, 'seed': 7},
    {'targets': 'anchored', 'n_step': 3, 'noise_dim': 4, 'seed': 8},
  )
  dsdpg = config.dsdpg
  assert (dsdpg.targets, dsdpg.n_step, dsdpg.noise_dim) == ('reconstructed', 2, 4)
  assert config.seed == 7


def test_the_environment_may_choose_the_agent_and_the_user_another():
  assert make_config({}, {'agent': 'ddpg'}).dsdpg.critic == 'point'
  assert make_config({'agent': 'dsdpg'}, {'agent': 'ddpg'}).dsdpg.critic == 'samples'


# Errors.


@pytest.mark.parametrize(('values', 'valid'), INVALID, ids=_ids(INVALID))
def test_an_error_names_field_value_and_what_is_valid(values, valid):
  message = f'({"|".join(values)})=.* is not valid: it must be .*{valid}'
  with pytest.raises(ConfigError, match=message) as error:
    make_config(values)
  assert any(f'{k}={v!r} is not valid' in str(error.value) for k, v in values.items())


@pytest.mark.parametrize(('values', 'kind'), WRONG_TYPE, ids=_ids(WRONG_TYPE))
def test_a_wrong_type_is_named(values, kind):
  ((field, value),) = values.items()
  with pytest.raises(ConfigError) as error:
    make_config(values)
  message = str(error.value)
  assert message == f'{field}={value!r} is not valid: it must be of type {kind}.'


@pytest.mark.parametrize('values', NOT_FINITE, ids=_ids(NOT_FINITE))
def test_numbers_must_be_finite(values):
  ((field, _),) = values.items()
  with pytest.raises(ConfigError, match=f'{field}=.* is not valid: it must be finite'):
    make_config(values)


def test_a_config_error_is_a_value_error():
  assert issubclass(ConfigError, ValueError)


@pytest.mark.parametrize(
  ('values', 'hint'),
  [
    (dict(num_sample=5), "Unknown config field 'num_sample'. Did you mean num_samples"),
    (dict(kernel='multiquadratic'), 'Did you mean multiquadric or rational_quadratic?'),
    (dict(agent='dsdgp'), 'Did you mean dsdpg'),
    (dict(targets='anchor'), 'Did you mean anchored or anchored_one_step?'),
  ],
)
def test_the_nearest_names_are_offered(values, hint):
  with pytest.raises(ConfigError) as error:
    make_config(values)
  assert hint in str(error.value)


def test_a_name_far_from_all_others_gets_no_hint():
  with pytest.raises(ConfigError) as error:
    make_config({'xyzzy': 5})
  assert str(error.value) == "Unknown config field 'xyzzy'."


def test_unknown_fields_of_an_environment_are_refused_too():
  with pytest.raises(ConfigError, match="Unknown config field 'n_steps'"):
    make_config({}, {'n_steps': 5})


def test_the_nested_config_is_not_a_field_to_set():
  with pytest.raises(ConfigError, match="Unknown config field 'dsdpg'"):
    make_config({'dsdpg': DSDPGConfig()})


# Boundaries that are valid, types that are kept.


@pytest.mark.parametrize(
  'values',
  [
    dict(discount=1.0),
    dict(target_update_rate=1.0),
    dict(sigma=0.0),
    dict(kl_weight=0.0),
    dict(num_samples=1),
    dict(num_samples=2, unbiased_mmd=True),
    dict(num_samples=2, num_critics=2, num_dropped_samples=2, unbiased_mmd=True),
    dict(agent='ddpg', num_critics=2, num_dropped_samples=1),
    dict(num_samples=1, unbiased_mmd=True, critic='point'),
    dict(batch_size=5, min_replay_size=5, max_replay_size=5),
    dict(hidden_sizes=(1,)),
    dict(sobolev='none', targets='observed'),
    dict(seed=2**31 - 1),
    dict(num_threads=0),
    dict(task=None),
  ],
  ids=repr,
)
def test_boundaries_are_valid(values):
  config = make_config(values)
  flat = {**dataclasses.asdict(config), **dataclasses.asdict(config.dsdpg)}
  assert {name: flat[name] for name in values} == values


def test_an_int_is_accepted_for_a_float_and_becomes_one():
  sigma = DSDPGConfig(sigma=1).sigma
  assert (sigma, type(sigma)) == (1.0, float)


@pytest.mark.parametrize(
  'env', sorted(p.stem for p in CONFIGS.glob('*.py') if p.stem != '__init__')
)
def test_every_file_of_configs_resolves(env):
  overrides = command_line.env_overrides(env)
  config = config_lib.make_config({'env': env}, overrides)
  for name, value in overrides.items():
    assert getattr(config, name, getattr(config.dsdpg, name, None)) == value
  environments.resolve_task(env)


def test_there_is_a_config_for_each_of_the_domains():
  domains = (
    'walker cheetah cartpole reacher pendulum ball_in_cup finger hopper acrobot fish '
    'humanoid'
  )
  assert {f'{domain}.py' for domain in domains.split()} <= {
    p.name for p in CONFIGS.iterdir()
  }


def test_configs_are_frozen():
  with pytest.raises(dataclasses.FrozenInstanceError):
    DSDPGConfig().discount = 0.5
  with pytest.raises(dataclasses.FrozenInstanceError):
    ExperimentConfig().seed = 1


def test_field_names_of_the_two_dataclasses_are_distinct():
  count = len(dataclasses.fields(DSDPGConfig)) + len(dataclasses.fields(ExperimentConfig))
  assert len(config_lib.fields()) == count - 1  # `dsdpg` itself.


# JSON.


@pytest.mark.parametrize('name', config_lib.PRESETS)
def test_json_round_trip(name):
  config = make_config({'agent': name, 'hidden_sizes': (3, 4), 'task': 'run', 'seed': 5})
  assert ExperimentConfig.from_json(config.to_json()) == config


def test_json_holds_every_resolved_value():
  values = json.loads(make_config({'agent': 'ddpg'}).to_json())
  agent = values.pop('dsdpg')
  assert {*values, *agent} == set(config_lib.fields())
  assert (values['agent'], agent['critic']) == ('ddpg', 'point')


def test_a_field_younger_than_the_json_is_its_default_not_the_presets():
  values = json.loads(make_config({'agent': 'dsdpg_anchored'}).to_json())
  assert values['dsdpg'].pop('state_gradient_scale') == 0.1
  assert values['dsdpg'].pop('kl_weight') == 1.0
  config = ExperimentConfig.from_json(json.dumps(values)).dsdpg
  assert (config.state_gradient_scale, config.kl_weight) == (1.0, 0.1)
  assert config.action_gradient_scale == 0.1


def test_json_of_an_unknown_field_or_bad_value_is_refused():
  text = make_config({}).to_json()
  with pytest.raises(ConfigError, match="Unknown config field 'batch_sizes'"):
    ExperimentConfig.from_json(text.replace('batch_size', 'batch_sizes'))
  with pytest.raises(ConfigError, match="critic='pint'"):
    ExperimentConfig.from_json(text.replace('"critic": "samples"', '"critic": "pint"'))
