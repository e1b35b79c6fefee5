"""The deterministic policy gradient."""

import numpy as np
import tensorflow as tf

from acme_dsdpg.losses import dpg
from tests.losses import problems
from tests.losses.problems import ClosedForm, Inputs


def test_loss_is_minus_the_mean_return_of_the_policys_actions():
  problem, inputs = ClosedForm(), Inputs()
  loss = dpg.policy_loss(problem.policy, problem.critic, inputs.observation, inputs.noise)
  returns = []
  for s, noise in zip(inputs.observation.numpy(), inputs.noise.numpy()):
    action = problem.oracle_policy.value(s)
    returns += [problem.oracle_critic.value(s, action, xi) for xi in noise]
  np.testing.assert_allclose(loss, -np.mean(returns), rtol=1e-12)


def test_gradient_is_minus_the_mean_of_the_action_gradients():
  problem, inputs = ClosedForm(), Inputs()
  action = tf.Variable(problem.policy(inputs.observation))
  with tf.GradientTape() as tape:
    loss = dpg.policy_loss(
      lambda s: action + 0.0, problem.critic, inputs.observation, inputs.noise
    )
  expected = []
  for s, a, noise in zip(
    inputs.observation.numpy(), action.numpy(), inputs.noise.numpy()
  ):
    gradients = [problem.oracle_critic.gradients(s, a, xi)[1] for xi in noise]
    expected.append(-np.mean(gradients, axis=0) / problems.B)
  np.testing.assert_allclose(tape.gradient(loss, action), expected, rtol=1e-10)


def test_policys_weight_gradient_is_the_finite_difference():
  networks, inputs = problems.RealNetworks(), Inputs()
  loss = lambda: dpg.policy_loss(
    networks.policy, networks.critic, inputs.observation, inputs.noise
  )
  slope, numeric = problems.slope_and_difference(
    loss, networks.policy.trainable_variables
  )
  assert abs(slope) > 1e-3
  np.testing.assert_allclose(slope, numeric, rtol=1e-6)


def test_eager_equals_compiled():
  networks, inputs = problems.RealNetworks(), Inputs()
  loss = lambda: dpg.policy_loss(
    networks.policy, networks.critic, inputs.observation, inputs.noise
  )
  compiled = tf.function(loss, jit_compile=True)
  np.testing.assert_allclose(compiled(), loss(), rtol=1e-10)
