"""Nodes of a program that import next to nothing, and do what a test wants of them.

Each takes the run directory, in which files are what they tell each other.
"""

import json
import logging
import os
import pathlib
import signal
import threading
import time

import courier

from acme_dsdpg import config as config_lib


def idle(workdir):
  threading.Event().wait()


def wait_for(workdir, name):
  while not (pathlib.Path(workdir) / name).exists():
    time.sleep(0.01)


def tell(workdir, name, text=''):
  path = pathlib.Path(workdir) / name
  part = path.with_suffix(f'.{os.getpid()}.part')  # Several nodes may tell the same.
  part.write_text(text)
  part.rename(path)


# Learners.


def _on_sigterm(workdir, function):
  def handle(*_):
    function()
    os._exit(0)

  signal.signal(signal.SIGTERM, handle)
  tell(workdir, 'ready')
  while True:
    signal.pause()


def saves(workdir):
  _on_sigterm(workdir, lambda: tell(workdir, 'saved'))


def saves_for_long(workdir):
  _on_sigterm(workdir, lambda: (wait_for(workdir, 'hours'), tell(workdir, 'saved')))


def never_ends(workdir):
  _on_sigterm(workdir, lambda: wait_for(workdir, 'never'))


def is_interrupted_again(workdir):
  def interrupt():
    os.kill(os.getppid(), signal.SIGINT)
    wait_for(workdir, 'never')

  _on_sigterm(workdir, interrupt)


# Nodes that are called, and that call.


class Adds:
  """Adds what it is given."""

  def __init__(self, workdir):
    self._sum = 0

  def add(self, number):
    self._sum += number
    return self._sum


def calls(workdir, adds):
  key = os.environ[courier.KEY]
  places = [pathlib.Path('/proc/self/cmdline')]
  places += [path for path in pathlib.Path(workdir).rglob('*') if path.is_file()]
  found = [str(path) for path in places if key.encode() in path.read_bytes()]
  results = [adds.add(2), adds.add(number=3)]
  tell(workdir, 'called', json.dumps({'results': results, 'found': found}))


# Others.


def ends_when_ready(workdir):
  wait_for(workdir, 'ready')


def ends_when_told(workdir):
  for name in ('ready', 'replaced', 'described'):
    wait_for(workdir, name)


def interrupts(workdir):
  wait_for(workdir, 'ready')
  os.kill(os.getppid(), signal.SIGINT)
  idle(workdir)


def loses_its_terminal(workdir):
  wait_for(workdir, 'ready')
  os.kill(os.getpid(), signal.SIGHUP)  # As every process of the terminal.
  tell(workdir, 'survived')
  os.kill(os.getppid(), signal.SIGHUP)
  idle(workdir)


def is_killed(workdir):
  tell(workdir, 'ready')
  os.kill(os.getpid(), signal.SIGKILL)


def is_killed_once(workdir):
  wait_for(workdir, 'ready')
  if not (pathlib.Path(workdir) / 'killed').exists():
    tell(workdir, 'killed')
    print('the first one', flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
  print('WARNING: the second one', flush=True)  # As warnings are.
  tell(workdir, 'replaced')
  idle(workdir)


def raises(workdir):
  wait_for(workdir, 'ready')
  raise ValueError('no such robot')


def explains(workdir):
  wait_for(workdir, 'ready')
  raise config_lib.ConfigError('The actions\nhave no bounds.')


def describes_itself(workdir):
  level = logging.getLogger('tensorflow').level
  tell(
    workdir, 'described', json.dumps({'level': level, 'cwd': os.getcwd(), **os.environ})
  )
  wait_for(workdir, 'never')
