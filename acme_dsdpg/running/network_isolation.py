"""A network namespace with nothing but loopback.

Reverb listens on every interface without authentication: whoever reaches its port reads
and writes replay. In a namespace of its own, nobody else can. (Nodes talk to each other
over loopback, with a key.)
"""

import ctypes
import errno
import fcntl
import os
import socket
import struct
from typing import Optional

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1


def confine() -> Optional[str]:
  """Moves this process, and those it will start, off the network.

  Before NumPy is imported: the kernel refuses a process that has several threads.

  Returns:
    None, or a warning for a person where the kernel does not let an ordinary user.
  """
  refusal = _try_in_child()
  if not refusal:
    try:
      _enter()
    except OSError as e:  # Several threads, which the child had not.
      refusal = e.errno
  if not refusal:
    return None
  return (
    'WARNING: the ports of this run are open to the network '
    f'({os.strerror(refusal)}): confine it with a firewall, or run it in a container '
    'without network.'
  )


def _try_in_child() -> int:
  """0 where `_enter` works, else the error's number.

  Some systems (Ubuntu since 23.10) let an ordinary user make the namespace, and nothing
  within it: a process that went in would have no network at all.
  """
  child = os.fork()
  if not child:
    status = errno.EPERM
    try:
      _enter()
      status = 0
    except OSError as e:
      status = e.errno or status
    finally:
      os._exit(status)
  return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _enter():
  """Raises OSError where the kernel does not let this process."""
  uid, gid = os.getuid(), os.getgid()
  libc = ctypes.CDLL(None, use_errno=True)
  if not uid and not libc.unshare(_CLONE_NEWNET):
    _raise_loopback()  # Root needs no other user namespace, where it would lose rights.
    return
  if libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET):
    raise OSError(ctypes.get_errno(), 'unshare')
  for name, text in (
    ('setgroups', 'deny'),
    ('uid_map', f'{uid} {uid} 1'),
    ('gid_map', f'{gid} {gid} 1'),
  ):
    with open(f'/proc/self/{name}', 'w', encoding='ascii') as file:
      file.write(text)
  _raise_loopback()


def _raise_loopback():
  with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
    request = struct.pack('16sh14x', b'lo', 0)
    _, flags = struct.unpack('16sh14x', fcntl.ioctl(control, _SIOCGIFFLAGS, request))
    fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack('16sh14x', b'lo', flags | _IFF_UP))
