"""Videos of episodes, and the backend that renders them."""

import types

import imageio
import numpy as np
import pytest

from acme_dsdpg import config as config_lib
from acme_dsdpg.running import rendering, video
from tests.running import runs, trained

SIZE = (24, 32)


class _Environment:
  """Fifty steps a second; its picture grows brighter with each."""

  def __init__(self):
    self.brightness = 0
    self.physics = types.SimpleNamespace(render=self._render)

  def control_timestep(self):
    return 0.02

  def _render(self, height, width, camera_id):
    return np.full([height, width, 3], self.brightness, np.uint8)


@pytest.mark.process
def test_a_video_is_in_real_time_and_shows_one_episode_after_the_other(tmp_path):
  environment = _Environment()
  filmed = video.Video(str(tmp_path / 'video.mp4'), *SIZE)
  for _ in range(2):
    environment.brightness = 0
    filmed.observe_first(environment, None)
    for _ in range(40):
      environment.brightness += 5
      filmed.observe(environment, None, None)
  filmed.close()
  reader = imageio.get_reader(tmp_path / 'video.mp4')
  # Every second step, after the first.
  assert reader.get_meta_data()['fps'] == pytest.approx(25.0)
  brightness = [float(np.mean(frame)) for frame in reader]
  assert brightness == pytest.approx([*range(0, 201, 10)] * 2, abs=4.0)


@pytest.mark.process
def test_a_video_of_repeated_actions_is_in_real_time_too(tmp_path):
  environment = _Environment()
  filmed = video.Video(str(tmp_path / 'video.mp4'), *SIZE, action_repeat=2)
  filmed.observe_first(environment, None)
  for _ in range(10):
    filmed.observe(environment, None, None)
  filmed.close()
  reader = imageio.get_reader(tmp_path / 'video.mp4')
  assert reader.get_meta_data()['fps'] == pytest.approx(25.0)
  assert sum(1 for _ in reader) == 11


def test_a_video_without_an_episode_closes():
  video.Video('nowhere.mp4').close()


@pytest.fixture(name='rendering_by')
def _rendering_by(monkeypatch):
  """Sets which backends would render here, and the user's choice."""

  def rendering_by(*backends, given=None):
    monkeypatch.setattr(rendering, 'renders', lambda backend: backend in backends)
    if given is None:
      monkeypatch.delenv('MUJOCO_GL', raising=False)
    else:
      monkeypatch.setenv('MUJOCO_GL', given)

  return rendering_by


@pytest.mark.parametrize('given', [None, '', 'disable'])
def test_the_first_backend_that_renders_is_chosen(rendering_by, given, monkeypatch):
  rendering_by('glfw', 'osmesa', given=given)
  rendering.choose_backend()
  assert rendering.os.environ['MUJOCO_GL'] == 'osmesa'


def test_the_users_backend_stays(rendering_by):
  rendering_by('egl', 'glfw', given='glfw')
  rendering.choose_backend()
  assert rendering.os.environ['MUJOCO_GL'] == 'glfw'


def test_a_users_backend_that_does_not_render_is_a_sentence(rendering_by):
  rendering_by('egl', given='nonsense')
  with pytest.raises(config_lib.ConfigError, match="with MUJOCO_GL='nonsense': leave"):
    rendering.choose_backend()


def test_where_nothing_renders_it_is_said_what_to_install(rendering_by):
  rendering_by()
  with pytest.raises(SystemExit, match='Install libegl1'):
    rendering.choose_backend()


@pytest.mark.process
@pytest.mark.slow
def test_an_evaluation_is_filmed_or_it_is_said_what_is_missing(tmp_path):
  trained.make_run(tmp_path)
  path = tmp_path / 'video.mp4'
  arguments = (tmp_path, '--episodes=1', f'--video={path}')
  program = runs.launcher('evaluate.py', *arguments)
  if program.wait():
    assert 'Install libegl1' in program.err
    assert 'Traceback' not in program.err
    pytest.skip('Nothing renders here.')
  assert program.out.endswith(f'{path}\n')
  frames = [frame for frame in imageio.get_reader(path)]
  # A thousand steps of 0.01 s, every fourth filmed.
  assert len(frames) == 251
  assert np.ptp(frames[0]) > 50  # There is something to see,
  assert np.any(frames[0] != frames[-1])  # and it moves.
  nonsense = runs.launcher('evaluate.py', *arguments, env={'MUJOCO_GL': 'nonsense'})
  assert nonsense.wait() == 2
  assert "Cannot render with MUJOCO_GL='nonsense'" in nonsense.err
  assert len(nonsense.err.strip().splitlines()) == 1
