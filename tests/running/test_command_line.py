"""What --help shows, program by program."""

import ast
import pathlib
import subprocess
import sys

import pytest

from acme_dsdpg import config as config_lib

ROOT = pathlib.Path(__file__).resolve().parents[2]


def _help(program):
  done = subprocess.run(
    [sys.executable, ROOT / 'launchers' / program, '--help'],
    capture_output=True, text=True, timeout=120, check=True,
  )  # fmt: skip
  assert not done.stderr
  return done.stdout


@pytest.mark.parametrize(
  'program', ['run_dsdpg.py', 'sweep.py', 'plot.py', 'evaluate.py', 'run_toy.py']
)
def test_help_is_what_the_program_says_of_itself(program):
  source = (ROOT / 'launchers' / program).read_text()
  assert _help(program).startswith(ast.get_docstring(ast.parse(source)))


def test_help_lists_every_field_with_its_meaning_and_default():
  text = ' '.join(_help('run_dsdpg.py').split())
  listed = {name: text.count(f' --{name}: ') for name in config_lib.fields()}
  booleans = [n for n, f in config_lib.fields().items() if f.type is bool]
  listed.update({name: text.count(f' --[no]{name}: ') for name in booleans})
  assert listed == dict.fromkeys(config_lib.fields(), 1)
  assert '--num_samples: M, samples of the return a state-action pair (A.8).' in text
  shown = lambda x: ','.join(map(str, x)) if isinstance(x, tuple) else x
  defaults = [shown(f.default) for f in config_lib.fields().values()]
  assert all(f'(default: {default})' in text for default in defaults)
