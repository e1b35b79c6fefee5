"""Paths that a user gives."""

import os
import pathlib
import shutil

import pytest

from acme_dsdpg import config as config_lib
from acme_dsdpg.running import paths


def test_a_path_is_from_the_root_on_whatever_the_working_directory_becomes(
  tmp_path, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  monkeypatch.setenv('HOME', '/users/me')
  for given, expected in (
    ('runs/a', f'{tmp_path}/runs/a'),
    (pathlib.Path('runs/a'), f'{tmp_path}/runs/a'),
    ('.', str(tmp_path)),
    ('../b/', f'{tmp_path.parent}/b'),
    ('/a/./b', '/a/b'),
    ('~/a', '/users/me/a'),
    ('./~', f'{tmp_path}/~'),
    ('a b, ü #%{1}', f'{tmp_path}/a b, ü #%{{1}}'),
  ):
    assert paths.absolute(given, 'workdir') == expected
    assert paths.directory(given, 'workdir') == expected


@pytest.mark.parametrize(
  ('path', 'said'),
  [
    ('', 'not empty'),
    (' ', 'not empty'),
    ('~no-such-user/a', 'home directory'),
    ('gs://bucket/a', 'on this machine'),
    ('a\nb', 'on one line'),
    ('a\0b', 'on one line'),
    (os.fsdecode(b'a\xff'), 'UTF-8'),
  ],
)
def test_what_is_no_path_is_refused(path, said):
  with pytest.raises(config_lib.ConfigError, match=f'^workdir=.*{said}'):
    paths.absolute(path, 'workdir')


@pytest.mark.parametrize('character', '*?[]\\')
def test_what_tensorflow_reads_as_a_pattern_is_refused_wherever_it_stands(
  character, tmp_path, monkeypatch
):
  path = tmp_path / f'lr={character}'
  path.mkdir()
  monkeypatch.chdir(path)
  for given in ('run', '.', path, path / 'run'):
    assert paths.absolute(given, 'workdir').startswith(str(path))
    with pytest.raises(config_lib.ConfigError, match='TensorFlow reads as patterns'):
      paths.directory(given, 'workdir')


def test_a_working_directory_that_is_gone_is_a_sentence(tmp_path, monkeypatch):
  gone = tmp_path / 'gone'
  gone.mkdir()
  monkeypatch.chdir(gone)
  shutil.rmtree(gone)
  with pytest.raises(config_lib.ConfigError, match='is no longer there'):
    paths.absolute('runs', 'workdir')
  assert paths.absolute('/runs', 'workdir') == '/runs'


def test_a_link_is_removed_and_not_what_it_points_to(tmp_path):
  (tmp_path / 'there').mkdir()
  (tmp_path / 'there/file').touch()
  (tmp_path / 'link').symlink_to(tmp_path / 'there')
  (tmp_path / 'dangling').symlink_to(tmp_path / 'nowhere')
  (tmp_path / 'file').touch()
  for name in ('link', 'dangling', 'file', 'nothing'):
    paths.remove(str(tmp_path / name))
  assert os.listdir(tmp_path) == ['there']
  assert (tmp_path / 'there/file').exists()
  paths.remove(str(tmp_path / 'there'))
  assert not os.listdir(tmp_path)


def test_a_directory_that_cannot_be_written_is_a_sentence(tmp_path):
  paths.check_writable(str(tmp_path), 'output')
  assert not os.listdir(tmp_path)
  # Which root cannot either.
  with pytest.raises(config_lib.ConfigError, match="^output='/proc' cannot be written"):
    paths.check_writable('/proc', 'output')
