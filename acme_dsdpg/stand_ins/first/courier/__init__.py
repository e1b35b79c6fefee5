"""Calls between the nodes of a run: what Launchpad uses of Courier, in Python.

    server = courier.Server(port)
    server.Bind('add', lambda a, b: a + b)
    server.Start()
    courier.Client(server.address).add(1, b=2)

Loopback only. Either side proves that it knows the run's key, which the launcher leaves
in the environment, before the other one unpickles anything.

Launchpad imports this before our own package can be found, of which nothing is used.
"""
# ruff: noqa: N802  # Courier's names.

from concurrent import futures
import contextlib
import datetime
import functools
from multiprocessing import connection
import os
import pickle
import socket
import threading
import time
import traceback
from typing import Any, Callable, List, Optional, Union

# The environment variable that holds the key, in hexadecimal.
KEY = 'DSDPG_COURIER_KEY'

_HOST = '127.0.0.1'
# Not from that host: where nobody listens yet, the kernel connects a socket to itself if
# it happens to choose that port for it, which is then taken.
_FROM = ('127.0.0.2', 0)
_LIST = '__list_methods__'
_INTERVAL = 0.1  # Seconds between two attempts.
_SAY_EVERY = 60.0  # Seconds after which one that waits says so.


class ServerEndedError(ConnectionError):
  """The server was there, and has ended before it answered."""


class RemoteError(Exception):
  """The traceback in the server of what its method raised; the cause of that."""


class Server:
  """Answers calls of the functions bound to it, one thread a connection."""

  def __init__(
    self,
    name: Optional[str] = None,
    port: Optional[int] = None,
    thread_pool_size: Optional[int] = None,
  ):
    """Takes the port, any that is free by default; the other two are not used."""
    self._key = _key()
    self._functions = {_LIST: lambda: sorted(set(self._functions) - {_LIST})}
    self._listener = socket.create_server((_HOST, port or 0), backlog=128)
    self.port = self._listener.getsockname()[1]
    self.address = f'localhost:{self.port}'
    self._thread = threading.Thread(target=self._accept, daemon=True)
    self._stopping = False
    self._sockets = set()

  def Bind(self, method_name: str, function: Callable[..., Any]):
    """Has clients call a function by a name."""
    self._functions[method_name] = function

  BindHandler = Bind

  def Start(self):
    """Begins to answer."""
    self._thread.start()

  def Stop(self):
    """Ends all connections; a call that is being answered fails at the client."""
    self._stopping = True
    self._listener.shutdown(socket.SHUT_RDWR)  # Which `accept` notices, unlike `close`.
    self._thread.join()
    self._listener.close()
    for sock in list(self._sockets):
      with contextlib.suppress(OSError):  # The client has ended it.
        sock.shutdown(socket.SHUT_RDWR)

  def Join(self):
    """Waits until the server is stopped."""
    self._thread.join()

  def _accept(self):
    while not self._stopping:
      try:
        sock, _ = self._listener.accept()
      except OSError:  # Stopped, or too many files are open.
        time.sleep(0 if self._stopping else _INTERVAL)
        continue
      self._sockets.add(sock)
      threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

  def _serve(self, sock: socket.socket):
    try:
      with sock, _connection(sock) as link:
        try:
          connection.deliver_challenge(link, self._key)
          connection.answer_challenge(link, self._key)
        except Exception:  # A stranger, whatever it sends, is not answered.
          return
        with contextlib.suppress(EOFError, OSError):
          while True:
            link.send_bytes(self._answer(link.recv_bytes()))
    finally:
      self._sockets.discard(sock)

  def _answer(self, call: bytes) -> bytes:
    try:
      name, args, kwargs = pickle.loads(call)
      if name not in self._functions:
        raise AttributeError(f'the node at {self.address} has no method {name!r}')
      return _dump((self._functions[name](*args, **kwargs), None, ''))
    except Exception as e:
      trace = f'\n{traceback.format_exc()}'
      with contextlib.suppress(Exception):
        answer = _dump((None, e, trace))
        pickle.loads(answer)  # Which some that can be pickled do not stand.
        return answer
      return _dump((None, RuntimeError(f'{type(e).__name__}: {e}'), trace))


class Client:
  """Calls a server's functions as methods of its own; by one connection a thread.

  A method raises what the function raised, or ServerEndedError.
  """

  def __init__(
    self,
    server_address: str,
    compress: bool = False,
    call_timeout: Union[None, float, datetime.timedelta] = None,
    wait_for_ready: bool = True,
  ):
    """Initializes the client; it connects when it is first used.

    Args:
      server_address: localhost:port.
      compress: not used.
      call_timeout: seconds after which a call to a server that is up raises TimeoutError.
      wait_for_ready: wait for a server that is not up yet, as long as it takes.
    """
    self._init_args = (server_address, compress, call_timeout, wait_for_ready)
    host, _, port = server_address.rpartition(':')
    if host not in ('localhost', _HOST):
      raise ValueError(f'{server_address!r} is not on this machine.')
    if isinstance(call_timeout, datetime.timedelta):
      call_timeout = call_timeout.total_seconds()
    self.address, self._port = server_address, int(port)
    self._timeout = call_timeout or None
    self._may_wait = wait_for_ready
    self._local = threading.local()

  def __reduce__(self):
    return type(self), self._init_args

  def __getattr__(self, name: str) -> Callable[..., Any]:
    if name.startswith('_'):
      raise AttributeError(name)
    return functools.partial(self._call, name)

  @property
  def futures(self) -> '_AsyncClient':
    """The same methods, which return futures."""
    return _AsyncClient(self)

  def _call(self, name: str, /, *args: Any, **kwargs: Any) -> Any:
    call = _dump((name, args, kwargs))
    try:
      if not hasattr(self._local, 'link'):
        self._local.link = self._connect()
      self._local.link.send_bytes(call)
      if self._timeout and not self._local.link.poll(self._timeout):
        raise TimeoutError(f'{name} took longer than {self._timeout:g} s')
      answer = self._local.link.recv_bytes()
    except BaseException as e:
      # Even after an interrupt: what comes later is the answer to no other call.
      self._local.__dict__.clear()
      if isinstance(e, (EOFError, ConnectionError)):
        raise ServerEndedError(f'The node at {self.address} has ended.') from e
      raise
    result, error, trace = pickle.loads(answer)
    if error is not None:
      raise error from RemoteError(trace)
    return result

  def _connect(self) -> connection.Connection:
    start = said = time.monotonic()
    while True:
      try:
        with socket.create_connection((_HOST, self._port), None, _FROM) as sock:
          link = _connection(sock)
        break
      except ConnectionRefusedError:
        if not self._may_wait:
          raise
        time.sleep(_INTERVAL)
        now = time.monotonic()
        if now - said > _SAY_EVERY:
          said = now
          line = f'WARNING: waiting for the node at {self.address}, {now - start:.0f} s'
          print(line, flush=True)
    self._may_wait = False  # It does not come twice.
    connection.answer_challenge(link, _key())
    connection.deliver_challenge(link, _key())
    return link


class _AsyncClient:
  def __init__(self, client: Client):
    self._client = client

  def __getattr__(self, name: str) -> Callable[..., futures.Future]:
    def start(*args, **kwargs):
      future = futures.Future()
      future.set_running_or_notify_cancel()
      threading.Thread(target=work, args=(future, args, kwargs), daemon=True).start()
      return future

    def work(future, args, kwargs):
      try:
        future.set_result(self._client._call(name, *args, **kwargs))
      except BaseException as e:
        future.set_exception(e)

    return start


def list_methods(client: Client) -> List[str]:
  """Returns the names of a server's functions."""
  return client._call(_LIST)


def _key() -> bytes:
  return bytes.fromhex(os.environ[KEY])


def _connection(sock: socket.socket) -> connection.Connection:
  # A large message is written in two, of which the second is not to wait.
  sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
  return connection.Connection(os.dup(sock.fileno()))


def _dump(value: Any) -> bytes:
  return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
