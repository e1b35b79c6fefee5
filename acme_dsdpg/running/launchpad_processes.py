"""Launchpad's local processes, started so that their launcher can supervise them.

The only file that touches names Launchpad keeps to itself.
"""

import atexit
import contextlib
import io
import subprocess
from typing import Any, Dict

import launchpad as lp
from launchpad.launch.run_locally import launch_local_output_to_files as output_to_files


def start(
  program: lp.Program, resources: Dict[str, Any], log_directory: str
) -> Dict[str, subprocess.Popen]:
  """Starts a program's nodes, each with its output in a file below `log_directory`.

  Args:
    program: what to run.
    resources: `PythonProcess` by group.
    log_directory: one file a node, group/index.

  Returns:
    The processes by the names of their files.
  """
  # Launchpad reads its environment variable on import, which has long happened.
  output_to_files._LOGGING_DIR = log_directory
  with contextlib.redirect_stdout(io.StringIO()):  # A line for each file.
    manager = lp.launch(
      program, 'local_mp', local_resources=resources, terminal='output_to_files'
    )
  # Launchpad's own supervision does not tell which process failed.
  atexit.unregister(manager.wait)
  return {name: process for name, (process,) in manager._active_workers.items()}
