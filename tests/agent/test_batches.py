"""Batches from replay's rows, against float64 loops written from the definition."""

import numpy as np
import pytest
import tensorflow as tf

from acme_dsdpg import networks as networks_lib
from acme_dsdpg.agent import batches, presets
from tests.agent import windows

B, N, S, A, GAMMA = 12, 4, 3, 2, 0.9


def _normalizer():
  normalizer = networks_lib.Normalizer(S, dtype=tf.float64)
  normalizer.update(tf.constant(windows.draw(1, 50, N, S, A, GAMMA)[:, 0, :S]))
  return normalizer


def _outcome(rows, steps, normalizer):
  """Reward, discount and next observation of the first `steps` steps of one window."""
  reward, discount = 0.0, 1.0
  for row in rows[1 : steps + 1]:
    reward += discount * row[-2]
    discount *= row[-1]
  deviation = np.sqrt(normalizer.variance.numpy() + 1e-6)
  return reward, discount, (rows[steps, :S] - normalizer.mean.numpy()) / deviation


@pytest.mark.parametrize('agent', ['ddpg', 'dsdpg_anchored'])
def test_returns_discounts_and_observations_are_those_of_the_windows(agent):
  config = presets.make_config({'agent': agent}).dsdpg
  rows, normalizer = windows.draw(0, B, N, S, A, GAMMA), _normalizer()
  batch = batches.prepare(batches.Window.of(tf.constant(rows), S), normalizer, config)
  for i, window in enumerate(rows):
    *_, observation = _outcome(window, 0, normalizer)
    np.testing.assert_allclose(batch.observation[i], observation, rtol=1e-12)
    np.testing.assert_array_equal(batch.action[i], window[1, S : S + A])
    model_steps = 1 if config.one_step_model else N
    for outcome, steps in ((batch.outcome, N), (batch.model_outcome, model_steps)):
      for actual, expected in zip(outcome, _outcome(window, steps, normalizer)):
        np.testing.assert_allclose(actual[i], expected, rtol=1e-12)
  assert 0 < np.mean(batch.outcome.discount == 0.0) < 1
