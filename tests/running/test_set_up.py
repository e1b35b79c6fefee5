"""What `acme_dsdpg.set_up` does, and what importing the package does not."""

import logging
import os

import pytest

import acme_dsdpg
from tests.running import runs

FLAG = '--xla_llvm_disable_expensive_passes'


@pytest.mark.parametrize(
  ('given', 'expected'),
  [
    (None, f'{FLAG}=true'),
    ('--xla_dump_to=/x', f'--xla_dump_to=/x {FLAG}=true'),
    (f'{FLAG}=false', f'{FLAG}=false'),
  ],
)
def test_xla_leaves_out_costly_passes_unless_told_otherwise(given, expected, monkeypatch):
  monkeypatch.delenv('XLA_FLAGS', raising=False)
  if given:
    monkeypatch.setenv('XLA_FLAGS', given)
  for _ in range(2):
    acme_dsdpg.set_up()
    assert os.environ['XLA_FLAGS'] == expected


@pytest.mark.parametrize(
  'name', ['MUJOCO_GL', 'TF_CPP_MIN_LOG_LEVEL', 'TF_FORCE_GPU_ALLOW_GROWTH']
)
def test_what_the_user_has_set_stays(name, monkeypatch):
  monkeypatch.setenv(name, 'osmesa')
  acme_dsdpg.set_up()
  assert os.environ[name] == 'osmesa'


def test_tensorflows_python_side_is_silent_below_errors(monkeypatch):
  logger = logging.getLogger('tensorflow')
  monkeypatch.setattr(logger, 'level', logging.NOTSET)
  acme_dsdpg.set_up()
  assert logger.level == logging.ERROR


@pytest.mark.process
def test_importing_the_package_changes_nothing():
  program = runs.python(
    '-c',
    'import logging, os, sys, warnings\n'
    'state = lambda: (dict(os.environ), list(warnings.filters),\n'
    '                 absl.logging.get_verbosity(), logging.getLogger().level)\n'
    'import absl.logging\n'
    'before = state()\n'
    'import acme_dsdpg\n'
    'assert state() == before\n'
    'assert "tensorflow" not in sys.modules\n',
  )
  assert program.wait() == 0, program.err
