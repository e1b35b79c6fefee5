"""Configuration: presets, precedence, checks, and what an error says."""

import dataclasses
import json
import math
import pathlib

import numpy as np
import pytest

from acme_dsdpg import config as config_lib
from acme_dsdpg import environments
from acme_dsdpg.agent import presets
from acme_dsdpg.agent.presets import make_config
from acme_dsdpg.config import ConfigError, DSDPGConfig, ExperimentConfig, FaultLimits
from acme_dsdpg.running import recorded_config

CONFIGS = pathlib.Path(__file__).resolve().parents[1] / 'configs'

# Fields of a config, a bad value, and what the message calls valid.
INVALID = [
  (dict(critic='points'), 'one of features, samples, point'),
  (dict(sobolev='state'), 'one of none, action, state_action'),
  (dict(targets='real'), 'one of observed, reconstructed, anchored'),
  (dict(world_model='vae'), 'one of cvae, mean, residual_cvae'),
  (dict(trust='all'), 'one of none, mean, reconstruction'),
  (dict(num_features=0), 'greater than 0'),
  (dict(num_directions=-1), '0 or greater'),
  (dict(num_samples=0), 'greater than 0'),
  (dict(noise_dim=0), 'greater than 0'),
  (dict(multiquadric_h=0.0), 'greater than 0'),
  (dict(n_step=0), 'greater than 0'),
  (dict(policy_learning_rate=0.0), 'greater than 0'),
  (dict(critic_learning_rate=-1e-3), 'greater than 0'),
  (dict(world_model_learning_rate=0.0), 'greater than 0'),
  (dict(batch_size=0), 'greater than 0'),
  (dict(min_replay_size=0), 'greater than 0'),
  (dict(max_replay_size=0), 'greater than 0'),
  (dict(samples_per_insert=0.0), 'greater than 0'),
  (dict(variable_update_period=0), 'greater than 0'),
  (dict(sobolev_weight=-1.0), '0 or greater'),
  (dict(sigma=-0.1), '0 or greater'),
  (dict(kl_weight=-0.1), '0 or greater'),
  (dict(discount=0.0), r'in \(0, 1\]'),
  (dict(discount=1.01), r'in \(0, 1\]'),
  (dict(target_update_rate=0.0), 'greater than 0'),
  (dict(target_update_rate=1.5), r'in \(0, 1\]'),
  (dict(hidden_sizes=()), 'one or more numbers greater than 0'),
  (dict(hidden_sizes=(256, 0)), 'one or more numbers greater than 0'),
  (dict(world_model_hidden_sizes=(-1,)), 'one or more numbers greater than 0'),
  (dict(min_replay_size=100, max_replay_size=99), 'at most max_replay_size=99'),
  (dict(batch_size=101, min_replay_size=100), 'at most min_replay_size=100'),
  (dict(environment_timeout=0.0), 'greater than 0'),
  (dict(max_environment_faults=0), 'greater than 0'),
  (dict(max_skipped_updates=0), 'greater than 0'),
  (dict(starvation_timeout=-1.0), 'greater than 0'),
  (dict(targets='observed', sobolev='action'), 'when sobolev is not none'),
  (dict(targets='observed', sobolev='state_action'), 'when sobolev is not none'),
  (
    dict(num_samples=1, unbiased_mmd=True, critic='samples'),
    '2 or more with unbiased_mmd',
  ),
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
  (dict(num_directions=1.0), 'int'),
  (dict(critic=None), 'str'),
  (dict(agent=3), 'str'),
  (dict(task=3), 'a string'),
  (dict(hidden_sizes=('256',)), 'a tuple of ints'),
  (dict(hidden_sizes=256), 'a tuple of ints'),
  (dict(hidden_sizes=(256, 1.0)), 'a tuple of ints'),
  (dict(hidden_sizes=(True,)), 'a tuple of ints'),
]
# An agent that uses most fields.
EVERYTHING = dict(
  critic='features', sobolev='action', targets='anchored', world_model='residual_cvae',
  trust='mean', num_directions=1, kl_weight=0.1, noise_dim=16,
)  # fmt: skip
NOT_FINITE = [
  dict(discount=math.nan),
  dict(sigma=math.inf),
  dict(checkpoint_every=math.inf),
]


def _ids(cases):
  return [repr(case[0] if isinstance(case, tuple) else case) for case in cases]


# Presets.


@pytest.mark.parametrize('name', presets.PRESETS)
def test_every_preset_is_valid_and_recorded(name):
  config = make_config({'agent': name})
  assert config.agent == name
  for field, value in presets.PRESETS[name].items():
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
def test_the_papers_agents_are_switches_and_the_papers_model_and_kernel(name, switches):
  dsdpg = make_config({'agent': name}).dsdpg
  assert (dsdpg.critic, dsdpg.sobolev, dsdpg.targets) == switches
  assert (dsdpg.world_model, dsdpg.kl_weight) == ('cvae', 0.1)
  assert (dsdpg.multiquadric_h, dsdpg.unbiased_mmd) == (100.0, False)
  assert dsdpg.num_directions == 0  # Points learn their whole gradient.


def test_the_dataclass_defaults_are_the_default_agent():
  assert make_config({}) == ExperimentConfig()
  assert ExperimentConfig().agent == presets.DEFAULT_AGENT == 'dsdpg_anchored'
  dsdpg = DSDPGConfig()
  assert (dsdpg.critic, dsdpg.targets) == ('features', 'anchored')


@pytest.mark.parametrize('targets', config_lib.TARGETS)
@pytest.mark.parametrize('predictive', [False, True])
def test_world_model_is_used_by_targets_and_by_a_critic_that_sees_its_prediction(
  targets, predictive
):
  values = dict(
    targets=targets,
    sobolev='none' if targets == 'observed' else 'action',
    predictive_critic=predictive,
  )
  if predictive and targets == 'reconstructed':
    with pytest.raises(ConfigError, match='predictive_critic=True is not valid'):
      DSDPGConfig(**values)
    return
  config = DSDPGConfig(**values)
  assert config.uses_world_model == (predictive or targets != 'observed')
  assert config.one_step_model == (predictive or targets == 'anchored')


def test_a_critic_that_sees_a_prediction_needs_one():
  values = dict(world_model='cvae', trust='reconstruction')
  with pytest.raises(ConfigError, match='predictive_critic=True is not valid.*no mean'):
    DSDPGConfig(**values)
  DSDPGConfig(predictive_critic=False, **values)


def test_the_papers_critic_sees_no_prediction():
  config = DSDPGConfig(critic='samples', sobolev='none', targets='observed')
  assert not config.uses_world_model
  assert 'predictive_critic' in config.unused_fields()


def test_anchored_targets_need_derivatives():
  with pytest.raises(ConfigError, match='observed or reconstructed when sobolev is none'):
    DSDPGConfig(sobolev='none', targets='anchored')


def test_a_baseline_refuses_what_does_not_apply_to_it():
  values = dict(agent='d4pg', batch_size=7, sigma=0.1, critic_learning_rate=3e-4)
  config = make_config(values)
  assert (config.agent, config.dsdpg.batch_size) == ('d4pg', 7)
  assert config.dsdpg.critic_learning_rate == 3e-4
  assert not config.dsdpg.uses_world_model
  with pytest.raises(ConfigError, match="left out with agent='d4pg'"):
    make_config(dict(agent='d4pg', target_update_rate=0.5))


def test_acmes_d4pg_keeps_its_batch_its_learning_rates_and_its_updates():
  d4pg = make_config({'agent': 'd4pg'}).dsdpg
  assert (d4pg.batch_size, d4pg.critic_learning_rate) == (256, 1e-4)
  assert d4pg.policy_learning_rate == 1e-4
  assert not d4pg.normalize_observations
  assert d4pg.updates_per_step == 1 / 8


@pytest.mark.parametrize(
  ('agent', 'field', 'value'),
  [
    ('ddpg', 'world_model_hidden_sizes', (8,)),
    ('ddpg', 'world_model_learning_rate', 0.5),
    ('ddpg', 'kl_weight', 0.5),
    ('ddpg', 'num_samples', 3),
    ('ddpg', 'num_features', 3),
    ('ddpg', 'num_directions', 2),
    ('ddpg', 'multiquadric_h', 3.0),
    ('ddpg', 'world_model', 'mean'),
    ('dsdpg', 'sobolev_weight', 0.5),
    ('dsdpg', 'num_features', 3),
    ('dsdpg', 'num_directions', 2),
    ('dsdpg', 'trust', 'reconstruction'),
    ('sobolev_ddpg', 'noise_dim', 3),
    ('sobolev_ddpg', 'unbiased_mmd', True),
    ('sobolev_ddpg', 'trust', 'reconstruction'),
  ],
)
def test_a_run_outlives_changes_of_fields_that_it_does_not_use(agent, field, value):
  def changed(agent):
    base = EVERYTHING if agent == 'everything' else dict(agent=agent)
    old, new = make_config(base), make_config({**base, field: value})
    return [difference.split()[0] for difference in config_lib.differences(old, new)]

  assert changed(agent) == []
  if field in ('noise_dim', 'unbiased_mmd'):
    assert changed('dsdpg') == [field]
  else:
    assert changed('everything') == [field]


def test_a_world_model_without_a_latent_has_no_kl():
  make = lambda kind: DSDPGConfig(world_model=kind, trust='none', predictive_critic=False)
  kinds = {k: make(k).unused_fields() for k in config_lib.WORLD_MODELS}
  assert [kind for kind, unused in kinds.items() if 'kl_weight' in unused] == ['mean']


def test_updates_per_step():
  assert DSDPGConfig(batch_size=64, samples_per_insert=16.0).updates_per_step == 0.25


# Precedence.


def test_a_preset_overrides_the_defaults():
  assert DSDPGConfig().critic == 'features'
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
    (dict(agent='dsdgp'), 'Did you mean dsdpg'),
    (dict(targets='anchor'), 'Did you mean anchored?'),
    (dict(critic='sample'), 'Did you mean samples?'),
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
    dict(num_samples=2, unbiased_mmd=True, critic='samples'),
    dict(num_samples=1, unbiased_mmd=True, critic='point'),
    dict(num_samples=1, unbiased_mmd=True, critic='features'),
    dict(num_directions=0),
    dict(sobolev_weight=0.0),
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
  flat = config_lib.flatten(config)
  assert {name: flat[name] for name in values} == values


def test_an_int_is_accepted_for_a_float_and_becomes_one():
  sigma = DSDPGConfig(sigma=1).sigma
  assert (sigma, type(sigma)) == (1.0, float)


def test_what_differs_by_environment_resolves_and_says_why():
  recorded = json.loads((CONFIGS / 'environments.json').read_text('utf-8'))
  assert recorded
  for env, values in recorded.items():
    environments.resolve_task(env)
    overrides = presets.env_overrides(env)
    assert overrides == {k: v for k, v in values.items() if k != 'why'}
    assert values['why']
    flat = config_lib.flatten(make_config({'env': env}, overrides))
    assert {name: flat[name] for name in overrides} == overrides
    assert overrides != {name: config_lib.fields()[name].default for name in overrides}


def test_an_environment_that_is_not_listed_has_the_defaults():
  assert presets.env_overrides('walker') == presets.env_overrides('nowhere') == {}


def test_the_package_holds_the_same_configs_as_the_top_level():
  of_package = CONFIGS.parent / 'acme_dsdpg' / 'configs'
  assert of_package.resolve() == CONFIGS


def test_configs_are_frozen():
  with pytest.raises(dataclasses.FrozenInstanceError):
    DSDPGConfig().discount = 0.5
  with pytest.raises(dataclasses.FrozenInstanceError):
    ExperimentConfig().seed = 1


def test_field_names_of_the_dataclasses_are_distinct():
  classes = (DSDPGConfig, FaultLimits, ExperimentConfig)
  count = sum(len(dataclasses.fields(cls)) for cls in classes)
  assert len(config_lib.fields()) == count - len(config_lib.GROUPS)


def test_flatten_and_unflatten_are_inverse():
  config = make_config({'agent': 'ddpg', 'environment_timeout': 3.0, 'batch_size': 7})
  assert config_lib.unflatten(config_lib.flatten(config)) == config
  assert config.limits.environment_timeout == 3.0


def test_json_holds_every_resolved_value():
  values = json.loads(make_config({'agent': 'ddpg'}).to_json())
  groups = [values.pop(name) for name in config_lib.GROUPS]
  assert {*values, *groups[0], *groups[1]} == set(config_lib.fields())
  assert (values['agent'], groups[1]['critic']) == ('ddpg', 'point')


def test_numbers_and_lists_of_numpy_are_stored_as_plain_python():
  values = dict(
    env=np.str_('walker'), seed=np.int64(3), num_steps=np.uint32(7),
    sigma=np.float32(0.5), hidden_sizes=[np.int16(64), 32],
    world_model_hidden_sizes=np.array([8, 9]), layer_norm=np.bool_(False),
    kl_weight=np.int64(2), batch_size=np.array(16),
  )  # fmt: skip
  config = presets.make_config(values)
  agent = config.dsdpg
  found = (
    config.env, config.seed, config.num_steps, agent.sigma, agent.hidden_sizes,
    agent.world_model_hidden_sizes, agent.layer_norm, agent.kl_weight, agent.batch_size,
  )  # fmt: skip
  expected = ('walker', 3, 7, 0.5, (64, 32), (8, 9), False, 2.0, 16)
  assert found == expected
  assert [type(v) for v in found] == [type(v) for v in expected]
  assert [type(v) for v in agent.hidden_sizes] == [int, int]
  assert DSDPGConfig(hidden_sizes=[64, 64]).hidden_sizes == (64, 64)
  assert recorded_config.read(config.to_json()).config == config


@pytest.mark.parametrize(
  'values',
  [
    dict(seed=np.float64(3.0)), dict(hidden_sizes=[64.0]), dict(hidden_sizes=[[64, 64]]),
    dict(hidden_sizes=64), dict(batch_size=[16]), dict(num_steps=np.bool_(True)),
    dict(sigma=np.float32('nan')), dict(agent=['ddpg']), dict(hidden_sizes=np.array([])),
  ],
)  # fmt: skip
def test_numpys_values_of_another_type_are_refused(values):
  (name,) = values
  with pytest.raises(ConfigError, match=f'^{name}='):
    presets.make_config(values)
