"""Two small problems in float64: one of closed form, one of the real networks."""

import functools
from typing import NamedTuple

from acme import specs
import numpy as np
import tensorflow as tf

from acme_dsdpg import config as config_lib
from acme_dsdpg import networks as networks_lib
from acme_dsdpg.losses import sobolev
from tests.oracles import sobolev as oracle
from tests.reference import algorithm1

B, M, S, A, K = 3, 4, 3, 2, 2


def constant(x):
  return tf.constant(x, tf.float64)


class Inputs:
  """A random batch; `eps` is the model's latent."""

  def __init__(self, batch=B, samples=M, state=S, action=A, noise=K, seed=0):
    normal = np.random.default_rng(seed).normal
    self.observation = constant(normal(size=(batch, state)))
    self.action = constant(np.tanh(normal(size=(batch, action))))
    self.eps = constant(normal(size=(batch, state + 1)))
    self.reward = constant(normal(size=batch))
    self.next_observation = constant(normal(size=(batch, state)))
    self.discount = constant(np.linspace(0.0, 0.97, batch))  # The first row ends.
    self.noise = constant(normal(size=(batch, samples, noise)))


class ClosedForm:
  """The oracle's critic, policy and model, and the same in TensorFlow."""

  def __init__(self, state=S, action=A, noise=K, seed=0):
    rng = np.random.default_rng(seed)
    self.oracle_critic = oracle.Critic(rng, state, action, noise)
    self.oracle_policy = oracle.Policy(rng, state, action)
    self.oracle_model = oracle.Model(rng, state, action, state + 1)

  @property
  def critic(self):
    return networks_lib.FunctionCritic(self.critic_function)

  def critic_function(self, s, a, xi):
    p = self.oracle_critic
    hidden = tf.tanh(_dot(s, p.u) + _dot(a, p.v) + _dot(xi, p.w) + p.b)
    return tf.reduce_sum(hidden * p.c, -1)

  def policy(self, s):
    return tf.tanh(_dot(s, self.oracle_policy.p))

  def model(self, eps):
    p = self.oracle_model

    def decode(s, a):
      reward = tf.reduce_sum(s * p.q + s * _dot(a, p.n), -1) + eps[:, 0] * a[:, 0]
      reward += 0.5 * tf.reduce_sum(p.m * a**2, -1)
      return reward, s + tf.tanh(_dot(s, p.f) + _dot(a, p.g) + _dot(eps, p.e))

    return decode


def _dot(x, matrix):
  return tf.matmul(x, tf.constant(matrix), transpose_b=True)


class RealNetworks:
  """The project's networks with random weights, so that every path matters.

  The paper's critic and world model, unless overridden.
  """

  def __init__(self, seed=0, **overrides):
    sizes = dict(hidden_sizes=(8, 8), world_model_hidden_sizes=(8, 8), noise_dim=K)
    kinds = dict(critic='samples', world_model='cvae', layer_norm=True)
    config = config_lib.DSDPGConfig(**{**sizes, **kinds, **overrides})
    spec = specs.EnvironmentSpec(
      observations=specs.Array((S,), np.float32),
      actions=specs.BoundedArray((A,), np.float32, [-1.0, -2.0], [1.0, 3.0]),
      rewards=specs.Array((), np.float32),
      discounts=specs.BoundedArray((), np.float32, 0.0, 1.0),
    )
    networks = networks_lib.make_networks(spec, config, seed, tf.float64)
    rng = np.random.default_rng(seed)
    self.critic, self.policy = networks.critic, networks.policy
    self.world_model = networks.world_model
    self.variables = []
    for network in (self.critic, self.policy, self.world_model):
      for variable in network.trainable_variables:
        variable.assign_add(0.4 * rng.normal(size=variable.shape))
        self.variables.append(variable)

  def model(self, eps):
    return lambda s, a: self.world_model.decode(s, a, eps)


class Target(NamedTuple):
  value: np.ndarray
  gradients: list  # In every weight and input.


@functools.cache
def shared(problem_class):
  """One instance for all tests: they leave it as it was."""
  return problem_class()


def target(problem_class, wrt, anchored, plain=False):
  """Of `Inputs()`, once for all tests: forward mode is slow to trace."""
  return _target(problem_class, wrt, anchored, plain)


@functools.cache
def _target(problem_class, wrt, anchored, plain):
  problem, inputs = shared(problem_class), Inputs()
  sources = [*getattr(problem, 'variables', []), *vars(inputs).values()]
  with tf.GradientTape() as tape:
    tape.watch(list(vars(inputs).values()))
    value = compute_target(problem, inputs, wrt, anchored, plain)
  return Target(value.numpy(), tape.gradient(value, sources))


def compute_target(problem, inputs, wrt, anchored=False, plain=False):
  """`sobolev_target`, or Algorithm 1's, which sees M copies of every row."""
  times = inputs.noise.shape[1] if plain else 1
  model = problem.model(algorithm1.copies(inputs.eps, times))
  if anchored:
    reward, next_observation = (
      algorithm1.copies(x, times) for x in (inputs.reward, inputs.next_observation)
    )
    model = sobolev.anchored(model, reward, next_observation)
  critic = (
    getattr(problem, 'critic_function', problem.critic) if plain else problem.critic
  )
  function = algorithm1.sobolev_target if plain else sobolev.sobolev_target
  return function(
    model,
    problem.policy,
    critic,
    inputs.observation,
    inputs.action,
    inputs.discount,
    inputs.noise,
    wrt,
  )


def slope_and_difference(loss, variables, step=1e-5, seed=1):
  """A loss's derivative along a random direction: by the tape, by differences."""
  rng = np.random.default_rng(seed)
  with tf.GradientTape() as tape:
    value = loss()
  gradients = tape.gradient(value, variables)
  directions = [rng.normal(size=v.shape) for v in variables]
  slope = sum(float(tf.reduce_sum(g * d)) for g, d in zip(gradients, directions))
  moved = []
  for h in (step, -2.0 * step):
    for variable, direction in zip(variables, directions):
      variable.assign_add(h * direction)
    moved.append(float(loss()))
  for variable, direction in zip(variables, directions):
    variable.assign_add(step * direction)
  return slope, (moved[0] - moved[1]) / (2.0 * step)
