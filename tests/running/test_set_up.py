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


@pytest.mark.parametrize(
  ('given', 'expected'),
  [
    ({}, ''),
    ({'no_proxy': 'example.com, localhost'}, 'example.com,localhost,'),
    ({'no_proxy': 'a', 'no_grpc_proxy': 'b'}, 'b,'),
    ({'no_proxy': 'a', 'no_grpc_proxy': ''}, ''),
  ],
)
def test_grpc_keeps_this_machine_off_proxies_and_what_is_set_stays(
  given, expected, monkeypatch
):
  for name in ('no_proxy', 'no_grpc_proxy'):
    monkeypatch.delenv(name, raising=False)
  for name, value in given.items():
    monkeypatch.setenv(name, value)
  for _ in range(2):
    acme_dsdpg.set_up()
    hosts = os.environ['no_grpc_proxy']
    assert hosts.startswith(expected)
    assert {'localhost', '127.0.0.1', '[::1]'} < set(hosts.split(','))
    assert len(set(hosts.split(','))) == hosts.count(',') + 1
  assert os.environ.get('no_proxy') == given.get('no_proxy')
