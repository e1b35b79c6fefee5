"""What all tests begin with: the set-up of a program, and the longest tests first."""

import acme_dsdpg

acme_dsdpg.set_up()  # Before any of them imports TensorFlow.

# Begun first: at the end, one worker would be left with them.
_LONGEST = ('tests/running/', 'tests/toy/')


def pytest_collection_modifyitems(items):
  items.sort(key=lambda item: not any(name in str(item.path) for name in _LONGEST))
