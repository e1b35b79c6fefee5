"""Evaluation: blocks of deterministic episodes, and their film."""

import math
from typing import Any, Callable, Dict

import acme
from acme import core
from acme.utils import observers
import dm_env
import imageio
import numpy as np


class Evaluator:
  """Blocks of deterministic episodes in an environment of their own."""

  def __init__(self, loop: acme.EnvironmentLoop, num_episodes: int):
    """Initializes the evaluator.

    Args:
      loop: an `acme.EnvironmentLoop` or `guarding.GuardedLoop` that does not update.
      num_episodes: of a block.
    """
    self._loop = loop
    self._num_episodes = num_episodes

  def run(self) -> Dict[str, Any]:
    """Runs a block; mean, deviation, worst and best of the episodes' returns."""
    episodes = [self._loop.run_episode() for _ in range(self._num_episodes)]
    returns = np.array([float(e['episode_return']) for e in episodes])
    return {
      'episode_return': returns.mean(),
      'episode_return_std': returns.std(),
      'episode_return_min': returns.min(),
      'episode_return_max': returns.max(),
      'episode_length': np.mean([e['episode_length'] for e in episodes]),
      'episodes': len(episodes),
    }


class PolicyActor(core.Actor):
  """Acts by a function of the observation; learns nothing."""

  def __init__(self, policy: Callable[[Any], np.ndarray]):
    self._policy = policy

  def select_action(self, observation):
    return self._policy(observation)

  def observe_first(self, timestep: dm_env.TimeStep):
    pass

  def observe(self, action, next_timestep: dm_env.TimeStep):
    pass

  def update(self, wait: bool = False):
    pass


class Film(observers.EnvLoopObserver):
  """Writes what dm_control renders to a video file, in real time."""

  def __init__(self, path: str, height: int = 240, width: int = 320, max_fps: int = 30):
    self._path = path
    self._size = dict(height=height, width=width)
    self._max_fps = max_fps
    self._writer = None

  def observe_first(self, env: dm_env.Environment, timestep: dm_env.TimeStep):
    fps = 1.0 / env.control_timestep()
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
