"""Evaluation: blocks of deterministic episodes, and their film."""

import math
from typing import Any, Callable, Dict, Sequence

import acme
from acme import core
from acme.utils import observers
import dm_env
from dm_env import specs
import imageio
import numpy as np


class SideBySide(dm_env.Environment):
  """N environments stepped as one, for Acme's loop: a block of episodes at once.

  Observation [N, S], action [N, A], reward [N], discount [N]. An episode lasts as long
  as the longest of the N; one that ends before earns nothing more. A policy that is
  called once for N actions is what makes it cheaper than N episodes in turn.
  """

  def __init__(self, environments: Sequence[dm_env.Environment]):
    """Initializes it from N environments of the same flat specs."""
    self._environments = list(environments)
    self._batched = lambda spec: specs.Array(
      (len(self._environments), *spec.shape), spec.dtype, spec.name
    )

  def reset(self) -> dm_env.TimeStep:
    """Resets all. Raises ValueError where an episode is over at once."""
    self._timesteps = [e.reset() for e in self._environments]
    if any(timestep.last() for timestep in self._timesteps):
      raise ValueError('an environment returned an episode of no steps')
    return dm_env.restart(self._stack('observation'))

  def step(self, action: np.ndarray) -> dm_env.TimeStep:
    rows = zip(self._environments, action, self._timesteps, strict=True)
    self._timesteps = [
      timestep._replace(reward=np.zeros_like(timestep.reward))
      if timestep.last()
      else environment.step(a)
      for environment, a, timestep in rows
    ]
    over = all(timestep.last() for timestep in self._timesteps)
    return dm_env.TimeStep(
      dm_env.StepType.LAST if over else dm_env.StepType.MID,
      self._stack('reward'),
      self._stack('discount'),
      self._stack('observation'),
    )

  def observation_spec(self) -> specs.Array:
    return self._batched(self._environments[0].observation_spec())

  def action_spec(self) -> specs.Array:
    return self._batched(self._environments[0].action_spec())

  def reward_spec(self) -> specs.Array:
    return self._batched(self._environments[0].reward_spec())

  def discount_spec(self) -> specs.Array:
    return self._batched(self._environments[0].discount_spec())

  def _stack(self, field: str) -> np.ndarray:
    return np.stack([getattr(timestep, field) for timestep in self._timesteps])


class Evaluator:
  """Blocks of deterministic episodes in environments of their own."""

  def __init__(self, loop: acme.EnvironmentLoop, num_episodes: int):
    """Initializes the evaluator.

    Args:
      loop: an `acme.EnvironmentLoop` or `guarding.GuardedLoop` that does not update, of
        one environment or of several `SideBySide`.
      num_episodes: of a block.
    """
    self._loop = loop
    self._num_episodes = num_episodes

  def run(self) -> Dict[str, Any]:
    """Runs a block; mean, deviation, worst and best of the episodes' returns.

    `episode_length` is the mean over the loop's episodes: of environments side by side
    it is the longest's.
    """
    returns, lengths = [], []
    while len(returns) < self._num_episodes:
      episode = self._loop.run_episode()
      returns.extend(np.atleast_1d(episode['episode_return']).astype(float))
      lengths.append(episode['episode_length'])
    returns = np.array(returns)
    return {
      'episode_return': returns.mean(),
      'episode_return_std': returns.std(),
      'episode_return_min': returns.min(),
      'episode_return_max': returns.max(),
      'episode_length': np.mean(lengths),
      'episodes': len(returns),
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
