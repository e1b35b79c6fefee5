"""How far a model's derivative is to be trusted."""

import numpy as np
import tensorflow as tf

from acme_dsdpg.losses import trust
from tests.oracles import directional as oracle

rng = np.random.default_rng(0)
S, NEXT, PREDICTED = rng.normal(size=(3, 40, 3)) * [[[1.0]], [[1.0]], [[0.7]]]


def _trust(s, next_s, predicted):
  return trust.explained_change(*(tf.constant(x) for x in (s, next_s, predicted)))


def test_every_row_equals_the_oracle():
  w = _trust(S, NEXT, PREDICTED)
  expected = [oracle.explained_change(*row) for row in zip(S, NEXT, PREDICTED)]
  np.testing.assert_allclose(w, expected, rtol=1e-12)
  assert 0 < np.count_nonzero(w) < len(w)  # Some explain less than nothing.


def test_an_exact_prediction_is_trusted_and_none_is_not():
  np.testing.assert_array_equal(_trust(S, NEXT, NEXT), np.ones(len(S)))
  # As if nothing would move, and what moves by much more than the 0.001.
  np.testing.assert_allclose(_trust(S, S + 1e3, S), np.zeros(len(S)), atol=1e-15)
  np.testing.assert_array_equal(_trust(S, NEXT, S - 10.0), np.zeros(len(S)))


def test_it_is_in_the_unit_interval_where_nothing_moves_too():
  for error in (0.0, 1e-3, 0.1, 1e6):
    w = _trust(S, S, S + error).numpy()
    assert np.all((w >= 0.0) & (w <= 1.0))
  np.testing.assert_allclose(_trust(S, S, S + 0.01), (1.0 - 0.3) ** 2, rtol=1e-6)


def test_it_falls_as_the_error_grows():
  shares = np.linspace(0.0, 1.0, 6)
  w = [_trust(S, NEXT, NEXT + share * (S - NEXT)).numpy() for share in shares]
  assert np.all(np.diff(w, axis=0) < 0.0)
