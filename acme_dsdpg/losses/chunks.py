"""A batch of states taken a few at a time, so that what is computed stays in cache.

States meet only where their losses are averaged. On a CPU most of the cost of M
samples a state is then memory traffic between the layers of [B * M, 256] arrays.
"""

from typing import Any, Callable, Sequence

import tensorflow as tf

# Rows (states times samples) a chunk: a layer of 256 float32 then takes 0.8 MB.
MAX_ROWS = 800


def chunk_size(batch_size: int, num_samples: int) -> int:
  """Returns the states of a chunk: the batch's largest divisor within `MAX_ROWS`.

  The whole batch on a GPU, and where the only divisors are tiny.
  """
  if tf.config.list_physical_devices('GPU'):
    return batch_size
  divisors = [n for n in range(1, batch_size + 1) if batch_size % n == 0]
  size = max([n for n in divisors if n * num_samples <= MAX_ROWS], default=1)
  return size if 4 * size * num_samples >= MAX_ROWS else batch_size


def map_chunks(
  function: Callable[..., tf.Tensor], tensors: Sequence[tf.Tensor], size: int
) -> tf.Tensor:
  """Computes `function(*tensors)` for `size` of the leading axis at a time.

  Args:
    function: [n, ...] tensors to one [n, ...], each row by itself.
    tensors: [B, ...] each.
    size: divides B.
  """
  if size == tensors[0].shape[0]:
    return function(*tensors)
  result = tf.map_fn(
    lambda chunk: function(*chunk),
    [_split(x, size) for x in tensors],
    fn_output_signature=tensors[0].dtype,
  )
  return tf.reshape(result, [-1, *result.shape[2:]])


def mean_over_chunks(
  function: Callable[..., Any], tensors: Sequence[tf.Tensor], size: int
) -> Any:
  """Computes the mean of `function` over chunks: of a mean over rows, that over all rows.

  Args:
    function: [n, ...] tensors to a nest of tensors, each a mean over the n rows.
    tensors: [B, ...] each.
    size: divides B.
  """
  if size == tensors[0].shape[0]:
    return function(*tensors)
  chunks = [_split(x, size) for x in tensors]
  num_chunks = chunks[0].shape[0]
  specs = tf.function(function, autograph=False).get_concrete_function(
    *(tf.TensorSpec(x.shape[1:], x.dtype) for x in chunks)
  )
  zeros = tf.nest.map_structure(
    lambda x: tf.zeros(x.shape, x.dtype), specs.structured_outputs
  )

  def add(total, chunk):
    return tf.nest.map_structure(tf.add, total, function(*chunk))

  total = tf.foldl(add, chunks, zeros)
  return tf.nest.map_structure(lambda x: x / num_chunks, total)


def _split(x: tf.Tensor, size: int) -> tf.Tensor:
  """Splits [B, ...] into [B / size, size, ...]."""
  return tf.reshape(x, [x.shape[0] // size, size, *x.shape[1:]])
