"""Layers shared by the policy, the critic and the world model."""

from typing import Callable, Iterator, List, Optional, Sequence, Tuple

import numpy as np
import tensorflow as tf


def swish(x: tf.Tensor) -> tf.Tensor:
  """Computes Swish, x sigmoid(x) (Ramachandran et al., 2017).

  Written out, so that derivatives of every order are the tape's own; `tf.nn.swish`
  carries a custom gradient.
  """
  return x * tf.sigmoid(x)


def seeds(seed: int) -> Iterator[int]:
  """Yields distinct seeds for initializers, without end."""
  generator = np.random.default_rng(seed)
  while True:
    yield int(generator.integers(2**31))


# Keras's own initializers draw from stateful operations: built twice in a process
# from one seed, a network would start from different weights.


def _glorot_uniform(seed: int):
  def initialize(shape, dtype):
    limit = np.sqrt(6.0 / sum(shape))
    return tf.random.stateless_uniform(shape, [seed, 0], -limit, limit, dtype)

  return initialize


def _fan_in_normal(scale: float, seed: int):
  """Normal with variance scale / fan in, truncated at two standard deviations."""

  def initialize(shape, dtype):
    # 0.88 is the standard deviation of a unit normal truncated at 2.
    stddev = np.sqrt(scale / shape[0]) / 0.87962566103423978
    return tf.random.stateless_truncated_normal(shape, [seed, 0], 0.0, stddev, dtype)

  return initialize


class LayerNorm(tf.keras.layers.Layer):
  """Layer normalisation (Ba et al., 2016) with learned scale and offset.

  Keras's own goes through fused batch normalisation, which XLA cannot fuse with
  its neighbours; mean, variance and rsqrt written out become a few loops.
  """

  def build(self, shape):
    self.scale = self.add_weight('scale', [shape[-1]], initializer='ones')
    self.offset = self.add_weight('offset', [shape[-1]], initializer='zeros')

  def call(self, x):
    centred = x - tf.reduce_mean(x, axis=-1, keepdims=True)
    variance = tf.reduce_mean(tf.square(centred), axis=-1, keepdims=True)
    return centred * tf.math.rsqrt(variance + 1e-5) * self.scale + self.offset


class MLP(tf.keras.layers.Layer):
  """A multi-layer perceptron with input skips and, as asked, residuals.

  Hidden layer i computes h_i = f(W_i [h_{i-1} ; x] + b_i) (+ h_{i-1} where the
  sizes agree), h_0 = x without the skip; a linear layer ends it.

  Attributes:
    hidden_sizes: sizes of the hidden layers.
    output_size: size of the last, linear layer.
    skips: the input enters every hidden layer, not the first alone.
    residual: add h_{i-1} to h_i where their sizes agree (A.8: policy, critic).
    norm: None; 'first' for LayerNorm then tanh in the first hidden layer, as in
      Acme's LayerNormMLP; 'after' for LayerNorm after each non-linearity (A.8:
      encoder, decoder).
    near_zero: start with an output close to 0.
    output_scales: factors on the output's initial kernel, one for each coordinate.
    activation: the non-linearity.
  """

  def __init__(
    self,
    hidden_sizes: Sequence[int],
    output_size: int,
    seed: int,
    skips: bool = True,
    residual: bool = False,
    norm: Optional[str] = None,
    near_zero: bool = False,
    output_scales: Sequence[float] = (),
    activation: Callable[[tf.Tensor], tf.Tensor] = swish,
    **kwargs,
  ):
    super().__init__(**kwargs)
    stream = seeds(seed)
    self._skips = skips
    self._residual = residual
    self._norm = norm
    self._activation = activation
    self._hidden = [
      tf.keras.layers.Dense(
        size,
        kernel_initializer=_glorot_uniform(next(stream)),
        dtype=self.dtype,
        name=f'hidden_{i}',
      )
      for i, size in enumerate(hidden_sizes)
    ]
    num_norms = {None: 0, 'first': 1, 'after': len(hidden_sizes)}[norm]
    self._norms = [
      LayerNorm(dtype=self.dtype, name=f'norm_{i}') for i in range(num_norms)
    ]
    initialize = _fan_in_normal(1e-4 if near_zero else 1.0, next(stream))
    scales = tf.constant(output_scales or [1.0], self.dtype)
    self._output = tf.keras.layers.Dense(
      output_size,
      kernel_initializer=lambda shape, dtype: initialize(shape, dtype) * scales,
      dtype=self.dtype,
      name='output',
    )

  def build(self, shape):
    self._input_size = shape[-1]
    previous = 0
    for layer in self._hidden:
      with tf.name_scope(layer.name):
        takes_input = self._skips or not previous
        layer.build([None, previous + self._input_size * takes_input])
      previous = layer.units
    with tf.name_scope(self._output.name):
      self._output.build([None, previous])
    # h_0 = x has a residual as well.
    self._adds_input = self._residual and self._hidden[0].units == self._input_size
    super().build(shape)

  def call(self, x):
    return self.from_terms(self.input_terms(x))

  def of_columns(self, *columns: Tuple[tf.Tensor, int]) -> tf.Tensor:
    """Returns the output, [N, output_size], from the input's columns in parts.

    Without a concatenation, whose derivatives of third order XLA does not have. Where
    parts overlap, they are added.

    Args:
      *columns: the columns [N, size] and the first one's number, as of `input_terms`.
    """
    terms = [self.input_terms(x, start) for x, start in columns]
    return self.from_terms([tf.add_n(parts) for parts in zip(*terms)])

  def input_terms(self, x: tf.Tensor, start: int = 0) -> List[tf.Tensor]:
    """Returns the terms of some columns of the input: linear in them.

    The input enters each hidden layer through a product with its kernel, so what
    rows share can be computed once for all of them, and repeated.

    Args:
      x: [N, size], the input's columns `start` to `start + size`.
      start: the first of them.

    Returns:
      A list of [N, H_i]. Its sum over a partition of the columns is what
      `from_terms` takes.
    """
    stop = start + x.shape[-1]
    terms = [tf.matmul(x, kernel[start:stop]) for kernel in self._input_kernels()]
    if self._adds_input:
      terms.append(tf.pad(x, [[0, 0], [start, self._input_size - stop]]))
    return terms

  def input_gradient(
    self, gradients: Sequence[tf.Tensor], start: int, stop: int
  ) -> tf.Tensor:
    """Turns derivatives by the terms into those by input columns, transposed.

    Args:
      gradients: of a row's output by each of its terms, [N, H_i].
      start: the first column.
      stop: one past the last.

    Returns:
      [N, stop - start].
    """
    by_layer = zip(gradients, self._input_kernels())
    columns = [tf.matmul(g, k[start:stop], transpose_b=True) for g, k in by_layer]
    if self._adds_input:
      columns.append(gradients[-1][:, start:stop])
    return tf.add_n(columns)

  def from_terms(self, terms: Sequence[tf.Tensor]) -> tf.Tensor:
    """Returns the output, [N, output_size], from the terms of the whole input."""
    h = terms[-1] if self._adds_input else None
    for i, layer in enumerate(self._hidden):
      products = [terms[i]] if i == 0 or self._skips else []
      if i:
        products.append(tf.matmul(h, layer.kernel[: h.shape[-1]]))
      out = sum(products) + layer.bias
      if self._norm == 'first' and i == 0:
        out = tf.tanh(self._norms[0](out))
      else:
        out = self._activation(out)
        if self._norm == 'after':
          out = self._norms[i](out)
      if self._residual and h is not None and out.shape[-1] == h.shape[-1]:
        out += h
      h = out
    return self._output(h)

  def _input_kernels(self) -> List[tf.Tensor]:
    """The last rows of each hidden layer's kernel, [input_size, H_i] each."""
    taking = self._hidden if self._skips else self._hidden[:1]
    return [layer.kernel[-self._input_size :] for layer in taking]
