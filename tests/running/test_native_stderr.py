"""What native code writes to stderr."""

import os
import sys

import pytest

from acme_dsdpg.running import native_stderr


def test_it_lands_in_the_runs_log_and_not_on_the_terminal(tmp_path, capfd):
  os.write(2, b'before\n')
  for number in range(2):
    with native_stderr.redirected(str(tmp_path)):
      os.write(2, b'native %d\n' % number)
      print('to stdout', flush=True)
    os.write(2, b'after\n')
  out, err = capfd.readouterr()
  assert out == 'to stdout\n' * 2
  assert err == 'before\nafter\nafter\n'
  assert (tmp_path / 'logs/native.log').read_text() == 'native 0\nnative 1\n'
  assert native_stderr.path(str(tmp_path)) == str(tmp_path / 'logs/native.log')


def test_an_exception_passes_and_stderr_comes_back(tmp_path, capfd):
  def fail():
    with native_stderr.redirected(str(tmp_path)):
      os.write(2, b'native\n')
      raise ZeroDivisionError

  with pytest.raises(ZeroDivisionError):
    fail()
  print('python', file=sys.stderr, flush=True)
  os.write(2, b'native again\n')
  assert capfd.readouterr().err == 'python\nnative again\n'


def test_what_python_has_not_written_yet_goes_to_the_terminal(
  tmp_path, monkeypatch, capfd
):
  with open(2, 'w', encoding='utf-8', closefd=False) as buffered:
    monkeypatch.setattr(sys, 'stderr', buffered)
    buffered.write('half a line')
    with native_stderr.redirected(str(tmp_path)):
      buffered.flush()
  assert capfd.readouterr().err == 'half a line'
  assert not (tmp_path / 'logs/native.log').read_text()


def test_where_there_is_no_room_for_the_log_the_run_goes_on(tmp_path, capfd):
  (tmp_path / 'logs').write_text('a file where the directory would be')
  with native_stderr.redirected(str(tmp_path)):
    os.write(2, b'native\n')
  assert not capfd.readouterr().err


def test_no_descriptor_is_left_open(tmp_path):
  before = len(os.listdir('/proc/self/fd'))
  for _ in range(5):
    with native_stderr.redirected(str(tmp_path)):
      pass
  assert len(os.listdir('/proc/self/fd')) == before
