"""Flattening of nested observations to one float32 vector.

The order is here and nowhere else: runs and `load_policy` agree by it.
"""

from collections.abc import Mapping
from typing import Any, Iterator, Tuple

import numpy as np

Path = Tuple[Any, ...]


def leaves(nest: Any) -> Iterator[Tuple[Path, Any]]:
  """Yields each leaf of a nest, and the keys and indices that lead to it.

  In the order of flat observations: mappings by their sorted keys, sequences as they are.
  """
  if isinstance(nest, Mapping):
    keys = sorted(nest)
  elif isinstance(nest, (list, tuple)):
    keys = range(len(nest))
  else:
    yield (), nest
    return
  for key in keys:
    for path, leaf in leaves(nest[key]):
      yield (key, *path), leaf


def flatten(observation: Any) -> np.ndarray:
  """Returns an observation as one float32 vector.

  Args:
    observation: numbers, arrays of any shape, or a nest of them.
  """
  parts = [np.ravel(leaf) for _, leaf in leaves(observation)]
  return np.concatenate(parts).astype(np.float32)
