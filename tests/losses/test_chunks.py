"""Batches taken a few states at a time."""

import numpy as np
import pytest
import tensorflow as tf

from acme_dsdpg.losses import chunks


def test_a_gpu_is_given_the_whole_batch(monkeypatch):
  monkeypatch.setattr(chunks.tf.config, 'list_physical_devices', lambda kind: [kind])
  assert chunks.chunk_size(256, 50) == 256


def test_chunks_are_the_largest_divisor_within_the_rows():
  assert chunks.MAX_ROWS == 800
  assert chunks.chunk_size(256, 50) == 16
  assert chunks.chunk_size(64, 10) == 64
  assert chunks.chunk_size(60, 30) == 20
  # A prime number of states would be taken one by one.
  assert chunks.chunk_size(67, 50) == 67


@pytest.mark.parametrize('size', [1, 2, 6])
def test_map_chunks_equals_the_function_on_the_whole(size):
  x, y = tf.random.normal([6, 3]), tf.random.normal([6])
  function = lambda a, b: a[:, :2] * b[:, tf.newaxis]
  expected = function(x, y)
  np.testing.assert_array_equal(chunks.map_chunks(function, (x, y), size), expected)


@pytest.mark.parametrize('size', [1, 2, 6])
def test_mean_over_chunks_is_the_mean_over_all_rows(size):
  x = tf.random.normal([6, 3], dtype=tf.float64)
  function = lambda a: {'mean': tf.reduce_mean(a), 'columns': [tf.reduce_mean(a, 0)]}
  actual = chunks.mean_over_chunks(function, (x,), size)
  np.testing.assert_allclose(actual['mean'], np.mean(x), rtol=1e-12)
  np.testing.assert_allclose(actual['columns'][0], np.mean(x, 0), rtol=1e-12)
