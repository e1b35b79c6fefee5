"""Videos of episodes."""

import math
from typing import Dict

from acme.utils import observers
import dm_env
import imageio


class Video(observers.EnvLoopObserver):
  """Writes what dm_control renders to a video file, in real time."""

  def __init__(
    self,
    path: str,
    height: int = 240,
    width: int = 320,
    max_fps: int = 30,
    action_repeat: int = 1,
  ):
    self._path = path
    self._action_repeat = action_repeat
    self._size = dict(height=height, width=width)
    self._max_fps = max_fps
    self._writer = None

  def observe_first(self, env: dm_env.Environment, timestep: dm_env.TimeStep):
    fps = 1.0 / (self._action_repeat * env.control_timestep())
    self._stride = math.ceil(fps / self._max_fps)
    if self._writer is None:
      self._writer = imageio.get_writer(
        self._path, fps=fps / self._stride, macro_block_size=None
      )
    self._steps = 0
    self._render(env)

  def observe(self, env: dm_env.Environment, timestep: dm_env.TimeStep, action):
    self._steps += 1
    if self._steps % self._stride == 0:
      self._render(env)

  def get_metrics(self) -> Dict[str, observers.Number]:
    return {}

  def close(self):
    """Completes the file."""
    if self._writer is not None:
      self._writer.close()

  def _render(self, env: dm_env.Environment):
    self._writer.append_data(env.physics.render(camera_id=0, **self._size))
