"""The multi-layer perceptrons' forward pass on one row (A.4, A.8)."""

import math

import numpy as np


def swish(x):
  return np.array([v / (1.0 + math.exp(-v)) for v in x])


def dense(x, kernel, bias):
  assert kernel.shape == (len(x), len(bias))
  result = np.zeros(kernel.shape[1])
  for j in range(kernel.shape[1]):
    result[j] = bias[j]
    for i in range(kernel.shape[0]):
      result[j] += x[i] * kernel[i, j]
  return result


def layer_norm(x, scale, offset, epsilon=1e-5):
  mean = sum(x) / len(x)
  variance = sum((v - mean) ** 2 for v in x) / len(x)
  deviation = math.sqrt(variance + epsilon)
  return np.array([(v - mean) / deviation * s + o for v, s, o in zip(x, scale, offset)])


def forward(x, hidden, output, residual=False, norms=(), norm=None):
  """`hidden`, `output`: (kernel, bias); `norms`: (scale, offset)."""
  h = np.asarray(x)
  for i, (kernel, bias) in enumerate(hidden):
    inputs = h if i == 0 else np.concatenate([h, x])
    out = dense(inputs, kernel, bias)
    if norm == 'first' and i == 0:
      out = np.tanh(layer_norm(out, *norms[0]))
    else:
      out = swish(out)
      if norm == 'after':
        out = layer_norm(out, *norms[i])
    if residual and len(out) == len(h):
      out = out + h
    h = out
  return dense(h, *output)
