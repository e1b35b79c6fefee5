"""Compiling is most of what the tests cost: XLA leaves out LLVM's costly passes."""

import os

os.environ.setdefault('XLA_FLAGS', '--xla_llvm_disable_expensive_passes=true')

# Begun first: at the end, one worker would be left with them.
_LONGEST = (
  'tests/faults/test_distributed',
  'tests/toy/test_exp',
  'tests/test_distributed',
)


def pytest_collection_modifyitems(items):
  items.sort(key=lambda item: not any(name in str(item.path) for name in _LONGEST))
