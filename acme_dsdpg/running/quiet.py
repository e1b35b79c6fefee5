"""Silences what the libraries print of themselves, each at its source.

Call `silence` before the first of them is imported.
"""

import contextlib
import logging as python_logging
import os
import sys
import warnings

from absl import logging


def silence():
  """TensorFlow's C++ log below errors, absl's below warnings, notices of age."""
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
  os.environ.setdefault('MUJOCO_GL', 'disable')
  logging.set_verbosity(logging.WARNING)
  logging.set_stderrthreshold(logging.WARNING)
  # Its Python side warns of loops in the vectorised Jacobian, which are measured.
  python_logging.getLogger('tensorflow').setLevel(python_logging.ERROR)
  warnings.filterwarnings('ignore', category=DeprecationWarning)
  warnings.filterwarnings('ignore', category=UserWarning, module='tensorflow_addons')
  try:
    from gym_notices import notices

    notices.notices.clear()  # Acme imports Gym, which says that it is unmaintained.
  except ImportError:
    pass


@contextlib.contextmanager
def native_stderr():
  """Drops what native code writes to stderr within; exceptions pass as ever.

  For Reverb's server, which reports its start and stop there at any log level.
  """
  sys.stderr.flush()
  saved = os.dup(2)
  try:
    with open(os.devnull, 'wb') as null:
      os.dup2(null.fileno(), 2)
    yield
  finally:
    os.dup2(saved, 2)
    os.close(saved)
