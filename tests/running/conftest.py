"""Runs do not outlive their tests."""

import pytest

from tests.running import runs


@pytest.fixture(autouse=True)
def _ended_runs():
  yield
  runs.end_all()
