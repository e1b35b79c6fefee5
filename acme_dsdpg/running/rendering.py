"""MuJoCo's rendering backend: chosen before dm_control, which reads it, is imported."""

import os
import subprocess
import sys

from acme_dsdpg import config as config_lib

_BACKENDS = ('egl', 'osmesa', 'glfw')
_PROBE = (
  "from dm_control import suite; suite.load('cartpole', 'balance').physics.render(8, 8)"
)


def renders(backend: str) -> bool:
  """Tries in a process of its own whether this value of MUJOCO_GL renders."""
  done = subprocess.run(
    [sys.executable, '-c', _PROBE], env={**os.environ, 'MUJOCO_GL': backend},
    check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
  )  # fmt: skip
  return not done.returncode


def choose_backend():
  """Sets MUJOCO_GL to the first backend that renders here, unless it is set.

  Exits with what to install if none does.

  Raises:
    ConfigError: the one that is set does not.
  """
  # 'disable' is what is set where nothing is to be rendered.
  given = os.environ.get('MUJOCO_GL') or 'disable'
  if given != 'disable':
    if not renders(given):
      raise config_lib.ConfigError(
        f'Cannot render with MUJOCO_GL={given!r}: leave it unset, and what works here is '
        'found.'
      )
    return
  for backend in _BACKENDS:
    if renders(backend):
      os.environ['MUJOCO_GL'] = backend
      return
  sys.exit(
    'Cannot render: neither EGL, OSMesa nor a display works here. Install libegl1 '
    '(and the GPU driver, or libgl1-mesa-dri), or libosmesa6.'
  )
