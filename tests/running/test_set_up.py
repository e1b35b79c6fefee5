"""What importing the package does to the environment."""

import os
import subprocess
import sys

import pytest

FLAG = '--xla_llvm_disable_expensive_passes'


@pytest.mark.parametrize(
  ('given', 'expected'),
  [
    (None, f'{FLAG}=true'),
    ('--xla_dump_to=/x', f'--xla_dump_to=/x {FLAG}=true'),
    (f'{FLAG}=false', f'{FLAG}=false'),
  ],
)
def test_xla_leaves_out_costly_passes_unless_told_otherwise(given, expected):
  env = {k: v for k, v in os.environ.items() if k != 'XLA_FLAGS'}
  if given:
    env['XLA_FLAGS'] = given
  program = 'import os, acme_dsdpg; print(os.environ["XLA_FLAGS"])'
  result = subprocess.run(
    [sys.executable, '-c', program], capture_output=True, text=True, check=True, env=env
  )
  assert result.stdout.strip() == expected
