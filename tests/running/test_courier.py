"""Calls between nodes, here between threads of one process, on real sockets."""

import contextlib
import multiprocessing
from multiprocessing import connection
import os
import pickle
import signal
import socket
import threading
import time

import courier
import numpy as np
import pytest

from acme_dsdpg import stand_ins
from tests.running import runs

KEY = '01' * 32


@pytest.fixture(autouse=True)
def _key(monkeypatch):
  monkeypatch.setenv(courier.KEY, KEY)


@pytest.fixture(name='serve')
def _serve():
  """Starts a server of the functions that are given, on a port if one is."""
  servers = []

  def serve(port=None, **functions):
    server = courier.Server(port=port)
    servers.append(server)
    for name, function in functions.items():
      server.Bind(name, function)
    server.Start()
    return server

  yield serve
  for server in servers:
    with contextlib.suppress(OSError):  # The test has stopped it.
      server.Stop()


def _free_port():
  with socket.create_server(('127.0.0.1', 0)) as server:
    return server.getsockname()[1]


def _in_thread(function, *args):
  thread = threading.Thread(target=function, args=args, daemon=True)
  thread.start()
  return thread


def test_arguments_and_results_pass_as_they_are(serve):
  client = courier.Client(serve(echo=lambda *args, **kwargs: (args, kwargs)).address)
  weights = [np.arange(5.0), np.ones((700, 500), np.float32)]
  (number, given), kwargs = client.echo(1, weights, name={'a': None})
  assert (number, kwargs) == (1, {'name': {'a': None}})
  for before, after in zip(weights, given, strict=True):
    np.testing.assert_array_equal(before, after)
    assert after.dtype == before.dtype
    assert after.flags.writeable


def test_what_the_function_raises_is_raised_with_its_traceback(serve):
  def no_such_robot():
    raise LookupError('no such robot', 3)

  client = courier.Client(serve(fail=no_such_robot).address)
  with pytest.raises(LookupError) as caught:
    client.fail()
  assert caught.value.args == ('no such robot', 3)
  assert 'in no_such_robot' in str(caught.value.__cause__)


class _TwoArgumentsError(Exception):
  def __init__(self, one, two):
    super().__init__(f'{one} and {two}')


def test_what_cannot_be_pickled_is_said_and_the_connection_goes_on(serve):
  class Local(Exception):  # noqa: N818
    pass

  def fail(error):
    raise {'local': Local('here'), 'two': _TwoArgumentsError(1, 2)}[error]

  client = courier.Client(serve(fail=fail, lock=threading.Lock, one=lambda: 1).address)
  with pytest.raises(RuntimeError, match='^Local: here$'):
    client.fail('local')
  with pytest.raises(RuntimeError, match='^_TwoArgumentsError: 1 and 2$'):
    client.fail('two')
  with pytest.raises(TypeError, match='pickle'):
    client.lock()
  assert client.one() == 1


def test_only_what_is_bound_can_be_called(serve):
  client = courier.Client(serve(b=id, a=id).address)
  assert courier.list_methods(client) == ['a', 'b']
  with pytest.raises(AttributeError, match="no method 'c'"):
    client.c()


def test_several_clients_and_threads_are_answered_at_once(serve):
  barrier = threading.Barrier(8, timeout=60)
  server = serve(meet=lambda number: (barrier.wait(), number)[1])
  shared, results = courier.Client(server.address), []

  def call(number):
    client = shared if number % 2 else courier.Client(server.address)
    results.extend(client.meet(number) for _ in range(20))

  for thread in [_in_thread(call, number) for number in range(8)]:
    thread.join(60)
  assert sorted(results) == sorted(list(range(8)) * 20)


def test_a_client_can_be_pickled(serve):
  client = courier.Client(serve(one=lambda: 1).address)
  assert client.one() == 1
  assert pickle.loads(pickle.dumps(client)).one() == 1


def test_futures(serve):
  release = threading.Event()
  client = courier.Client(serve(wait=release.wait, fail=lambda: 1 / 0).address)
  waiting, failing = client.futures.wait(60), client.futures.fail()
  with pytest.raises(ZeroDivisionError):
    failing.result(60)
  assert not waiting.done()
  release.set()
  assert waiting.result(60)


@pytest.mark.parametrize('key', ['02' * 32, ''])
def test_another_key_is_refused(serve, monkeypatch, key):
  called = []
  server = serve(call=lambda: called.append(1))
  monkeypatch.setenv(courier.KEY, key)
  with pytest.raises(multiprocessing.AuthenticationError):
    courier.Client(server.address).call()
  assert not called


class _Trap:
  """Makes a directory when it is unpickled."""

  def __init__(self, path):
    self._path = str(path)

  def __reduce__(self):
    return os.mkdir, (self._path,)


# What somebody who does not know the key can say all the same.
QUESTION, WELCOME = b'#CHALLENGE#' + bytes(20), b'#WELCOME#'


def test_nothing_of_an_impostor_is_unpickled(tmp_path):
  def serve():
    with contextlib.suppress(EOFError, OSError), impostor.accept() as link:
      link.send_bytes(QUESTION)
      link.recv_bytes()
      link.send_bytes(WELCOME)
      link.recv_bytes()  # The client's question.
      link.send(_Trap(tmp_path / 'sprung'))
      link.recv_bytes()

  with connection.Listener(('127.0.0.1', 0)) as impostor:
    thread = _in_thread(serve)
    with pytest.raises(multiprocessing.AuthenticationError):
      courier.Client(f'localhost:{impostor.address[1]}').call()
    thread.join(60)
    # A socket of another address is never connected to itself.
    assert impostor.last_accepted[0] != impostor.address[0]
  assert not list(tmp_path.iterdir())


def test_nothing_of_a_stranger_is_unpickled_and_others_are_answered(serve, tmp_path):
  server = serve(one=lambda: 1)
  trap = pickle.dumps(_Trap(tmp_path / 'sprung'))
  for messages in ([trap] * 3, [QUESTION, WELCOME, trap], [bytes(10**6)]):
    with socket.create_connection(('127.0.0.1', server.port)) as sock:
      stranger = connection.Connection(os.dup(sock.fileno()))
    with contextlib.suppress(OSError):
      for message in messages:
        stranger.send_bytes(message)
    with contextlib.suppress(EOFError, OSError):
      while stranger.poll(60):  # Until it is hung up.
        stranger.recv_bytes()
  assert not list(tmp_path.iterdir())
  with socket.create_connection(('127.0.0.1', server.port)):  # It says nothing.
    assert courier.Client(server.address).futures.one().result(60) == 1


def test_it_listens_on_loopback_only(serve):
  server = serve()
  assert server.address == f'localhost:{server.port}'
  # Which Linux sends to the machine itself, on any interface but that of 127.0.0.1.
  with pytest.raises(ConnectionRefusedError):
    socket.create_connection(('127.0.0.2', server.port))
  with pytest.raises(ValueError, match='not on this machine'):
    courier.Client('example.com:80')


def test_a_server_that_starts_late_is_waited_for(serve):
  port = _free_port()
  call = courier.Client(f'localhost:{port}').futures.one()
  time.sleep(0.5)
  assert not call.done()
  serve(port, one=lambda: 1)
  assert call.result(60) == 1


def test_one_that_waits_long_says_for_whom(serve, monkeypatch, capfd):
  monkeypatch.setattr(courier, '_SAY_EVERY', 0.2)
  port = _free_port()
  call = courier.Client(f'localhost:{port}').futures.one()
  line = f'WARNING: waiting for the node at localhost:{port}, '
  runs.wait_for(lambda: line in capfd.readouterr().out)
  serve(port, one=lambda: 1)
  assert call.result(60) == 1


def test_a_client_that_is_not_to_wait_does_not():
  client = courier.Client(f'localhost:{_free_port()}', wait_for_ready=False)
  with pytest.raises(ConnectionError):
    client.one()


def test_waiting_can_be_interrupted():
  def interrupt(*_):
    raise KeyboardInterrupt

  before = signal.signal(signal.SIGALRM, interrupt)
  signal.setitimer(signal.ITIMER_REAL, 0.3)
  try:
    with pytest.raises(KeyboardInterrupt):
      courier.Client(f'localhost:{_free_port()}').one()
  finally:
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def test_a_server_that_ends_fails_the_call_and_those_after_it(serve):
  called = threading.Event()
  server = serve(wait=lambda: (called.set(), threading.Event().wait()))
  client = courier.Client(server.address)
  call = client.futures.wait()
  assert called.wait(60)
  server.Stop()
  server.Join()
  for _ in range(2):
    with pytest.raises(courier.ServerEndedError, match=f'{server.address} has ended'):
      call.result(60)
    call = client.futures.wait()


def test_the_answer_to_a_call_that_timed_out_is_not_anothers(serve):
  release = threading.Event()
  server = serve(wait=lambda: (release.wait(60), 'late')[1], one=lambda: 1)
  client = courier.Client(server.address, call_timeout=0.2)
  with pytest.raises(TimeoutError):
    client.wait()
  release.set()
  assert client.one() == 1


@pytest.mark.process
def test_without_launchpad_acme_is_imported_and_a_distributed_run_refused():
  # As on a Python for which there is no Launchpad: the stand-in is what is found.
  env = {'PYTHONPATH': os.pathsep.join([stand_ins.LAST, str(runs.ROOT)])}
  program = runs.python(
    '-c',
    'from acme_dsdpg import stand_ins\n'
    'from acme_dsdpg.running import single_process\n'
    'from acme.utils import signals\n'
    'with signals.runtime_terminator(): pass\n'
    'assert not stand_ins.has_launchpad()',
    env=env,
  )
  refused = runs.launcher('run_dsdpg.py', '--env=cartpole', '--run_distributed', env=env)
  assert program.wait() == 0, program.err
  assert refused.wait() == 2
  assert refused.err.startswith('--run_distributed needs Launchpad')
  assert refused.err.count('\n') == 1
