"""Diagnoses of episodes against returns counted by hand and closed forms."""

import os
import types

from acme import specs
import numpy as np
import pytest
import tensorflow as tf

from acme_dsdpg import config as config_lib
from acme_dsdpg import environments
from acme_dsdpg.agent import agents, presets
from acme_dsdpg.analysis import (
  diagnosis,
  diagnosis_figure,
  diagnosis_report,
  figures,
  trained_agent,
)
from acme_dsdpg.running import checkpointing
from tests.analysis.critics import NoisyCritic

CONFIG = config_lib.DSDPGConfig(
  critic='samples', discount=0.5, n_step=2, targets='reconstructed'
)


def _agent(config=CONFIG, **networks):
  networks = types.SimpleNamespace(normalizer=lambda x: x, **networks)
  return trained_agent.TrainedAgent(config, networks, None)


def test_saturation_counts_coordinates_near_either_bound():
  first = dict(action=np.array([[1.0, -0.96], [0.94, 0.0]]))
  second = dict(action=np.array([[-1.0, 0.2]]))
  assert diagnosis.saturation([first, second]) == pytest.approx(3 / 6)
  assert diagnosis.saturation([first, second], 0.1) == pytest.approx(4 / 6)


def test_obtained_returns_are_discounted_to_the_end():
  episode = dict(reward=[1.0, 2.0, 4.0], discount=[1.0, 1.0, 0.0])
  np.testing.assert_allclose(diagnosis.obtained_returns(episode, 0.5), [3.0, 4.0, 4.0])
  ended = dict(reward=[1.0, 2.0], discount=[0.0, 1.0])
  np.testing.assert_allclose(diagnosis.obtained_returns(ended, 0.5), [1.0, 2.0])


def test_returns_that_a_time_limit_cuts_short_are_left_out():
  agent = _agent(critic=NoisyCritic(lambda s, a, xi: s[:, 0] + a[:, 0] * xi[:, 0]))
  assert diagnosis.horizon(0.5) == 4
  time = np.arange(11, dtype=np.float32)[:, np.newaxis]
  episode = dict(
    observation=time, action=np.ones([10, 1], np.float32), reward=np.ones(10)
  )
  for last, num_steps in ((1.0, 6), (0.0, 10)):
    episode['discount'] = np.r_[np.ones(9), last]
    predicted, obtained, gradients = diagnosis.compare_returns(agent, [episode], every=1)
    assert len(obtained) == len(predicted) == num_steps
    # z = s + a noise, dz/da = noise.
    np.testing.assert_allclose(
      predicted - time[:num_steps], gradients[..., 0], rtol=1e-5, atol=1e-5
    )


def test_calibration_is_uniform_where_the_distribution_is_right():
  rng = np.random.default_rng(0)
  samples, obtained = rng.normal(size=[2000, 200]), rng.normal(size=2000)
  below = diagnosis.calibration(samples, obtained)
  np.testing.assert_allclose(
    np.quantile(below, [0.1, 0.5, 0.9]), [0.1, 0.5, 0.9], atol=0.03
  )
  # Half the spread: every return is far out more often.
  below = diagnosis.calibration(0.5 * samples, obtained)
  assert np.mean(below < 0.1) > 0.2
  assert np.mean(below > 0.9) > 0.2
  few = np.array([[0.0, 1.0, 2.0, 2.0]])
  for value, share in ((-1.0, 0.0), (1.0, 0.375), (2.0, 0.75), (3.0, 1.0)):
    assert diagnosis.calibration(few, np.array([value])) == share


def test_trust_by_step_is_that_of_the_change_that_the_mean_explains():
  agent = _agent(
    config_lib.DSDPGConfig(),
    world_model=types.SimpleNamespace(
      mean=lambda s, a: tf.concat([tf.zeros_like(a), a, 0.0 * a], axis=1),
      encode=lambda *args: types.SimpleNamespace(sample=lambda seed: None),
    ),
  )
  # The action moves the first coordinate by itself; the second moves by 0, 1, 2.
  action = np.ones([3, 1], np.float32)
  observation = np.array([[0, 0], [1, 0], [2, 1], [3, 3]], np.float32)
  episode = dict(observation=observation, action=action, reward=np.zeros(3, np.float32))
  explained, weight = diagnosis.trust_by_step(agent, [episode, episode])
  expected = 1.0 - np.array([0.0, 1.0, 4.0]) / (np.array([1.0, 2.0, 5.0]) + 1e-3)
  np.testing.assert_allclose(explained, np.tile(expected, 2), rtol=1e-5)
  np.testing.assert_allclose(weight, np.tile(expected**2, 2), rtol=1e-5)


def test_a_model_that_is_right_has_no_error_and_one_of_the_mean_has_one():
  rng = np.random.default_rng(0)
  observation = rng.normal(size=[30, 2]).astype(np.float32)
  reward = rng.normal(size=29).astype(np.float32)
  episode = dict(
    observation=observation, action=np.zeros([29, 1], np.float32), reward=reward
  )
  returns, later = reward[:-1] + 0.5 * reward[1:], observation[2:]

  class Latent:
    def __init__(self, exact):
      self.exact = exact

    def sample(self, *args, seed):
      return self.exact

  def decode(s, a, exact):
    if exact:
      return tf.constant(returns), tf.constant(later)
    return tf.fill(28, returns.mean()), tf.repeat(later.mean(0)[np.newaxis], 28, 0)

  agent = _agent(
    world_model=types.SimpleNamespace(
      encode=lambda *args: Latent(True), prior=lambda: Latent(False), decode=decode
    )
  )
  reconstructed, drawn = diagnosis.model_errors(agent, [episode])
  np.testing.assert_allclose(reconstructed, np.zeros(3), atol=1e-12)
  np.testing.assert_allclose(drawn, np.ones(3), rtol=1e-5)


@pytest.fixture(name='run', params=['dsdpg', presets.DEFAULT_AGENT])
def _run(request, tmp_path):
  """A run directory with a checkpoint of networks with other weights: config, state."""
  values = dict(agent=request.param, env='pendulum', task='swingup', hidden_sizes=(4, 4))
  config = presets.make_config({**values, 'world_model_hidden_sizes': (4,)})
  builder = agents.make_builder(config.agent, config.dsdpg)
  spec = specs.make_environment_spec(environments.make_environment('pendulum'))
  learner = builder.make_learner(spec, builder.make_networks(spec, seed=5), iter(()))
  learner.state['normalizer'].mean.assign([0.1, 0.2, 0.3])
  replay = tmp_path / 'replay'
  replay.mkdir()
  client = types.SimpleNamespace(checkpoint=lambda: str(replay))
  checkpointer = checkpointing.Checkpointer(str(tmp_path), config, learner.state)
  assert checkpointer.save({'actor_steps': 0}, client)
  return config, learner.state


def test_an_agent_is_diagnosed_from_its_checkpoint(run, tmp_path):
  config, state = run
  factory = environments.SuiteFactory('pendulum')
  spec = specs.make_environment_spec(factory(0))
  agent = trained_agent.load(str(tmp_path), config, spec)
  for name in ('normalizer', 'policy', 'critic', 'world_model'):
    loaded = getattr(agent.networks, name).variables
    for ours, saved in zip(loaded, state[name].variables):
      np.testing.assert_array_equal(ours, saved)
  observation = np.ones(3, np.float32)
  expected = state['policy'](state['normalizer'](observation[np.newaxis]))[0]
  np.testing.assert_allclose(agent.policy(observation), expected, rtol=1e-5, atol=1e-7)

  result = diagnosis.diagnose(agent, factory, 1, seed=0)
  text = diagnosis_report.of_episodes(result)
  assert f'return: obtained {result.obtained.mean():.2f}, predicted' in text
  assert 'actions within 5% of their bounds: 0%' in text
  assert 'world model, from the prior: squared error' in text
  assert 'calibration: ' in text
  trusts = config.agent == presets.DEFAULT_AGENT
  assert ('steps: R^2 of the change, median' in text) == trusts
  assert len(text.splitlines()) == 6 + trusts
  figure = diagnosis_figure.draw(result, 'a run')
  (path, _) = figures.save(figure, str(tmp_path / 'figure'))
  assert os.path.getsize(path) > 10_000
  without = result._replace(model_errors=None, trust=None)
  without = without._replace(predicted=result.predicted[:, :1])
  assert len(diagnosis_report.of_episodes(without).splitlines()) == 3
  (_, *panels) = diagnosis_figure.draw(without, 'a run').axes
  said = [panel.texts[0].get_text() for panel in panels if panel.texts]
  assert said == ['one return, no distribution', 'no world model', 'no trust']


def test_a_run_that_cannot_be_looked_into_is_a_sentence(run, tmp_path):
  config, _ = run
  load = lambda config, spec, workdir=tmp_path: trained_agent.load(
    str(workdir), config, spec
  )
  spec = lambda env: specs.make_environment_spec(environments.make_environment(env))
  with pytest.raises(config_lib.ConfigError, match='has no checkpoint'):
    load(config, spec('pendulum'), tmp_path / 'none')
  with pytest.raises(config_lib.ConfigError, match='one of your own'):
    load(config, spec('cartpole'))
  baseline = presets.make_config({'agent': 'd4pg'})
  with pytest.raises(config_lib.ConfigError, match="Acme's networks"):
    load(baseline, spec('pendulum'))
