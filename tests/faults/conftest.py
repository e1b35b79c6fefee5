"""Runs do not outlive their tests."""

import pytest

from tests.faults import runs


@pytest.fixture(autouse=True)
def _ended_runs():
  yield
  runs.end_all()
