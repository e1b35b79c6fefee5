"""Calls of one launcher, one after the other in a single process that imports it once.

    python launcher_calls.py LAUNCHER ARGUMENTS LINES_AS_JSON

Prints exit status, stdout and stderr of each as JSON, and whether TensorFlow has been
imported. ARGUMENTS are those of `command_line.run`.
"""

import contextlib
import importlib
import io
import json
import shlex
import sys

from absl.testing import flagsaver

from acme_dsdpg.running import command_line


def call(main, arguments, line):
  out, err = io.StringIO(), io.StringIO()
  sys.argv = ['launcher', *shlex.split(line)]
  status = 0
  with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
    with flagsaver.flagsaver():
      try:
        command_line.run(main, arguments)
      except SystemExit as e:
        status = e.code
  return status, out.getvalue(), err.getvalue()


def main(name, arguments, lines):
  module = importlib.import_module(f'launchers.{name}')
  if name == 'run_dsdpg':
    command_line.define_flags()
    # None of the calls is to come as far.
    for kind in ('single_process', 'distributed'):
      sys.modules[f'acme_dsdpg.running.{kind}'] = None
  results = [call(module.main, arguments, line) for line in json.loads(lines)]
  print(json.dumps([results, 'tensorflow' in sys.modules]))


if __name__ == '__main__':
  main(*sys.argv[1:])
