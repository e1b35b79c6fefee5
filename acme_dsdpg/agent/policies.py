"""What acts: policies from NumPy to NumPy.

A call of TensorFlow takes several times as long as a policy of this size computes.
"""

from typing import Protocol

from acme import specs
import numpy as np
import tensorflow as tf

from acme_dsdpg import networks as networks_lib
from acme_dsdpg.networks import policy as policy_lib


class BehaviorPolicy(Protocol):
  """Acts by the weights that it has last taken over."""

  def __call__(self, observation: np.ndarray) -> np.ndarray:
    """Maps observations [S] or [N, S] float32 to actions [A] or [N, A] float32."""

  def refresh(self):
    """Takes over the present weights."""


class NumpyPolicy:
  """Computes what `networks.ActingPolicy` does, from a copy of its weights."""

  def __init__(
    self,
    policy: networks_lib.ActingPolicy,
    action_spec: specs.BoundedArray,
    normalize_observations: bool,
  ):
    """Initializes the policy.

    Args:
      policy: whose weights are taken over, built.
      action_spec: of its actions.
      normalize_observations: whether its normalizer is enabled.
    """
    short = lambda v: '/'.join(v.name.split(':')[0].split('/')[-2:])
    self._variables = {short(v): v for v in policy.variables}
    low = np.broadcast_to(action_spec.minimum, action_spec.shape)
    high = np.broadcast_to(action_spec.maximum, action_spec.shape)
    self._centre = np.asarray((high + low) / 2, np.float32)
    self._half_range = np.asarray((high - low) / 2, np.float32)
    self._normalizes = normalize_observations
    self.refresh()

  def refresh(self):
    weights = {name: _read(variable) for name, variable in self._variables.items()}
    self._mean = weights['mean']
    self._scale = 1.0 / np.sqrt(weights['variance'] + np.float32(1e-6))
    num_layers = sum('hidden' in name for name in weights) // 2
    kernels = [weights[f'hidden_{i}/kernel'] for i in range(num_layers)]
    # The observation enters each hidden layer, last: one product serves all of them.
    size = self._mean.size
    self._input_kernel = np.concatenate([kernel[-size:] for kernel in kernels], axis=1)
    self._bias = np.concatenate([weights[f'hidden_{i}/bias'] for i in range(num_layers)])
    self._kernels = [kernel[:-size] for kernel in kernels]
    self._ends = np.cumsum([kernel.shape[1] for kernel in kernels])
    self._norm = weights.get('norm_0/scale'), weights.get('norm_0/offset')
    self._output_kernel, self._output_bias = (
      weights[f'output/{name}'] for name in ('kernel', 'bias')
    )

  def __call__(self, observation: np.ndarray) -> np.ndarray:
    h = observation
    if self._normalizes:
      h = (h - self._mean) * self._scale
      h = np.minimum(np.maximum(h, -policy_lib.MAX_DEVIATION), policy_lib.MAX_DEVIATION)
    terms, start = h @ self._input_kernel + self._bias, 0
    for kernel, end in zip(self._kernels, self._ends):
      out = terms[..., start:end]
      if start:
        out = out + h @ kernel
      out = _swish(out) if start or self._norm[0] is None else self._norm_tanh(out)
      h = out + h if out.shape == h.shape else out
      start = end
    output = h @ self._output_kernel + self._output_bias
    return self._centre + self._half_range * np.tanh(output)

  def _norm_tanh(self, x: np.ndarray) -> np.ndarray:
    scale, offset = self._norm
    x = x - _mean(x)
    variance = _mean(x * x)
    return np.tanh(x / np.sqrt(variance + np.float32(1e-5)) * scale + offset)


def _read(variable: tf.Variable) -> np.ndarray:
  # `variable.numpy()` takes five times as long.
  return tf.raw_ops.ReadVariableOp(resource=variable.handle, dtype=variable.dtype).numpy()


def _mean(x: np.ndarray) -> np.ndarray:
  # `x.mean` takes four times as long.
  return np.add.reduce(x, axis=-1, keepdims=True) / np.float32(x.shape[-1])


def _swish(x: np.ndarray) -> np.ndarray:
  half = np.float32(0.5) * x
  return half + half * np.tanh(half)  # x sigmoid(x), which cannot overflow.


class TracedPolicy:
  """Calls a TensorFlow policy, [N, S] to [N, A], through one trace."""

  def __init__(self, policy: networks_lib.ActingPolicy):
    signature = tf.TensorSpec([None, policy.observation_size], tf.float32)
    function = tf.function(lambda x: policy(x), [signature])
    self._function = function.get_concrete_function()

  def refresh(self):
    pass  # It computes with the variables themselves.

  def __call__(self, observation: np.ndarray) -> np.ndarray:
    rows = tf.constant(np.atleast_2d(observation), tf.float32)
    return self._function(rows).numpy().reshape([*observation.shape[:-1], -1])


class ExploringPolicy:
  """Adds Gaussian noise to a policy's actions and keeps them within their bounds."""

  def __init__(
    self, policy: BehaviorPolicy, sigma: float, action_spec: specs.BoundedArray, seed: int
  ):
    """Initializes the policy.

    Args:
      policy: what it explores around.
      sigma: standard deviation of the noise.
      action_spec: of the actions.
      seed: of the noise.
    """
    self._policy, self._sigma = policy, np.float32(sigma)
    self._low = np.asarray(action_spec.minimum, np.float32)
    self._high = np.asarray(action_spec.maximum, np.float32)
    self._rng = np.random.default_rng(seed)

  def refresh(self):
    self._policy.refresh()

  def __call__(self, observation: np.ndarray) -> np.ndarray:
    action = self._policy(observation)
    noise = self._rng.standard_normal(action.shape, np.float32)
    return np.minimum(np.maximum(action + self._sigma * noise, self._low), self._high)
