"""Silences what the libraries print of themselves, each at its source.

Call `silence` before the first of them is imported.
"""

import logging as python_logging
import os
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
    from gym_notices import notices  # pylint: disable=import-outside-toplevel

    notices.notices.clear()  # Acme imports Gym, which says that it is unmaintained.
  except ImportError:
    pass
