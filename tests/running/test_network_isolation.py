"""The ports of a run, on real sockets."""

import subprocess
import sys

import psutil
import pytest

from tests.running import runs

LISTENING = """
import sys
from acme_dsdpg import isolation
warning = isolation.confine()
import os, socket, subprocess
import reverb
server = reverb.Server([reverb.Table.queue('q', 10)])
print(warning, server.port, os.getpid(), flush=True)
alive = reverb.Client(f'localhost:{server.port}').server_info()
print(sorted(alive), flush=True)
sys.stdin.readline()
"""


def _addresses():
  return {
    address.address
    for interface in psutil.net_if_addrs().values()
    for address in interface
    if address.family.name == 'AF_INET'
  }


def _answers(address, port):
  import socket

  with socket.socket() as s:
    s.settimeout(2)
    return s.connect_ex((address, port)) == 0


@pytest.mark.parametrize('confined', [True, False])
def test_the_ports_of_a_run_do_not_answer_on_any_address(confined):
  text = LISTENING if confined else LISTENING.replace('isolation.confine()', 'None')
  process = subprocess.Popen(
    [sys.executable, '-c', text], cwd=runs.ROOT, text=True, stdin=subprocess.PIPE,
    stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
  )  # fmt: skip
  try:
    *warning, port, _ = process.stdout.readline().split()
    if confined and warning != ['None']:
      pytest.skip('the kernel lets no ordinary user make a network namespace')
    assert 'q' in process.stdout.readline()  # It serves those inside.
    answers = {address: _answers(address, int(port)) for address in _addresses()}
    assert answers
    assert any(answers.values()) != confined, answers
  finally:
    process.communicate('\n', timeout=30)


REFUSED = """
from acme_dsdpg import isolation
import errno, os
def refuse():
  raise PermissionError(errno.EACCES, 'no')
isolation._raise_loopback = refuse
before = os.readlink('/proc/self/ns/net')
warning = isolation.confine()
print(os.readlink('/proc/self/ns/net') == before, warning)
"""
SEVERAL_THREADS = """
from acme_dsdpg import isolation
import os, threading
os.setresuid(1000, 1000, 1000) if not os.getuid() else None
threading.Thread(target=threading.Event().wait, daemon=True).start()
print(isolation.confine())
"""


def _output_of(program):
  done = subprocess.run(
    [sys.executable, '-c', program], cwd=runs.ROOT, capture_output=True, text=True,
    check=True, timeout=60,
  )  # fmt: skip
  return done.stdout


def test_where_nothing_is_allowed_within_the_namespace_the_process_stays_out_of_it():
  output = _output_of(REFUSED)
  assert output.startswith('True WARNING: the ports of this run are open')
  if 'Operation not permitted' in output:
    pytest.skip('the kernel lets no ordinary user make a network namespace')
  assert 'Permission denied' in output


def test_a_process_of_several_threads_is_warned():
  output = _output_of(SEVERAL_THREADS)
  assert output.startswith('WARNING: the ports of this run are open')
