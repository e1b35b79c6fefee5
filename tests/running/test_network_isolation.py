"""Who can reach the ports of a run, on real sockets."""

import socket
import subprocess

import psutil
import pytest

from tests.running import runs

pytestmark = pytest.mark.process

LISTENING = """
import sys
from acme_dsdpg.running import network_isolation
warning = network_isolation.confine() if sys.argv[1] == 'confined' else None
import socket
server = socket.create_server(('', 0))
port = server.getsockname()[1]
# It serves those inside.
socket.create_connection(('localhost', port)).close()
print(port, warning, flush=True)
sys.stdin.readline()
"""
REFUSED = """
import errno, os
from acme_dsdpg.running import network_isolation
def refuse():
  raise PermissionError(errno.EACCES, 'no')
network_isolation._raise_loopback = refuse
before = os.readlink('/proc/self/ns/net')
warning = network_isolation.confine()
print(os.readlink('/proc/self/ns/net') == before, warning)
"""
SEVERAL_THREADS = """
import os, threading
from acme_dsdpg.running import network_isolation
os.setresuid(1000, 1000, 1000) if not os.getuid() else None
threading.Thread(target=threading.Event().wait, daemon=True).start()
print(network_isolation.confine())
"""
WARNING = 'WARNING: the ports of this run are open to the network'
SKIPPED = 'the kernel lets no ordinary user make a network namespace'


def addresses():
  """Of this machine, loopback included."""
  return {
    address.address
    for interface in psutil.net_if_addrs().values()
    for address in interface
    if address.family == socket.AF_INET
  }


def answers(address, port):
  """Whether anybody listens; a refusal comes at once."""
  with socket.socket() as connection:
    connection.settimeout(runs.LIMIT)
    return not connection.connect_ex((address, port))


@pytest.mark.parametrize('confined', ['confined', 'open'])
def test_the_ports_of_a_confined_process_answer_on_no_address(confined):
  program = runs.python('-c', LISTENING, confined, stdin=subprocess.PIPE)
  program.wait_for(lambda: '\n' in program.out)
  port, warning = program.out.strip().split(' ', 1)
  if confined == 'confined' and warning != 'None':
    pytest.skip(SKIPPED)
  reached = {address: answers(address, int(port)) for address in addresses()}
  assert '127.0.0.1' in reached
  if confined == 'confined':
    assert not any(reached.values()), reached
  else:
    assert reached['127.0.0.1']  # The test would notice.


def _output(text):
  program = runs.python('-c', text)
  assert program.wait() == 0, program.err
  return program.out


def test_where_nothing_is_allowed_within_the_namespace_the_process_stays_out_of_it():
  output = _output(REFUSED)
  assert output.startswith(f'True {WARNING}')
  if 'Operation not permitted' in output:
    pytest.skip(SKIPPED)
  assert 'Permission denied' in output


def test_a_process_of_several_threads_is_warned():
  assert _output(SEVERAL_THREADS).startswith(WARNING)
