"""The libraries' noise and environment variables, set before they are imported.

Imported with the package, so that none of its modules imports Acme without the stand-ins.
"""

import logging as python_logging
import os
import warnings

from absl import logging

from acme_dsdpg import stand_ins

stand_ins.install()

# LLVM's costly passes are three quarters of the time that a learner's step takes to
# compile, and make it no faster (docs/what_was_tried.md).
_XLA_FLAG = '--xla_llvm_disable_expensive_passes'
_THIS_MACHINE = ('localhost', '127.0.0.1', '[::1]', '::1')


def set_up():
  """Silences the libraries and sets their environment variables.

  Call it before TensorFlow and dm_control are imported; once more does no harm. What the
  user has set stays:

  - gRPC, by which a run calls its own replay, keeps this machine off proxies.
  - XLA leaves out LLVM's costly passes, unless XLA_FLAGS names the flag.
  - NumPy's OpenBLAS has one thread, unless OPENBLAS_NUM_THREADS says: for a policy's
    small products several only wait for each other.
  - MuJoCo renders nothing, unless MUJOCO_GL says by what.
  - TensorFlow takes a GPU's memory as it needs it, unless TF_FORCE_GPU_ALLOW_GROWTH says.
  - TensorFlow's C++ log is silent but for what ends the process (it reports errors of no
    consequence on import), absl's below warnings; deprecations and notices of age are
    left out.
  """
  keep_off_proxies()
  if _XLA_FLAG not in os.environ.get('XLA_FLAGS', ''):
    given = os.environ.get('XLA_FLAGS', '')
    os.environ['XLA_FLAGS'] = f'{given} {_XLA_FLAG}=true'.strip()
  os.environ.setdefault('OPENBLAS_NUM_THREADS', '1')
  os.environ['MUJOCO_GL'] = os.environ.get('MUJOCO_GL') or 'disable'
  os.environ.setdefault('TF_FORCE_GPU_ALLOW_GROWTH', 'true')
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
  logging.set_verbosity(logging.WARNING)
  logging.set_stderrthreshold(logging.WARNING)
  python_logging.getLogger('absl').addFilter(_is_not_of_dm_controls_models)
  # Its Python side warns of loops in the vectorised Jacobian, which are measured.
  python_logging.getLogger('tensorflow').setLevel(python_logging.ERROR)
  warnings.filterwarnings('ignore', category=DeprecationWarning)
  try:
    from gym_notices import notices

    notices.notices.clear()  # Acme imports Gym, which says that it is unmaintained.
  except ImportError:
    pass


def keep_off_proxies():
  """Has gRPC connect to this machine itself, whatever proxies the user has set.

  It would go through `http_proxy` even to localhost. What is in `no_grpc_proxy`, or in
  `no_proxy` in its absence, stays.
  """
  given = os.environ.get('no_grpc_proxy', os.environ.get('no_proxy', ''))
  hosts = [host.strip() for host in given.split(',') if host.strip()]
  hosts += [host for host in _THIS_MACHINE if host not in hosts]
  os.environ['no_grpc_proxy'] = ','.join(hosts)


def _is_not_of_dm_controls_models(record: python_logging.LogRecord) -> bool:
  """MuJoCo warns, through dm_control and absl, of attributes in dm_control's models."""
  return 'will be removed in a future release' not in str(record.msg)
