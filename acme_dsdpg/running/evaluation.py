"""Evaluation: blocks of deterministic episodes."""

import contextlib
from typing import Any, Callable, Dict, Sequence

import acme
from acme import core
import dm_env
from dm_env import specs
import numpy as np

from acme_dsdpg import config as config_lib
from acme_dsdpg import environments
from acme_dsdpg.agent import acting, policies
from acme_dsdpg.running import environment_guard, seeding


class SideBySide(dm_env.Environment):
  """N environments stepped as one, for Acme's loop: a block of episodes at once.

  Observation [N, S], action [N, A], reward [N], discount [N]. An episode lasts as long
  as the longest of the N; one that ends before earns nothing more. A policy that is
  called once for N actions is what makes it cheaper than N episodes in turn.

  Attributes:
    environments: the N.
  """

  def __init__(self, environments: Sequence[dm_env.Environment]):
    """Initializes it from N environments of the same flat specs."""
    self.environments = list(environments)
    self._batched = lambda spec: specs.Array(
      (len(self.environments), *spec.shape), spec.dtype, spec.name
    )

  def reset(self) -> dm_env.TimeStep:
    """Resets all. Raises ValueError where an episode is over at once."""
    self._timesteps = [e.reset() for e in self.environments]
    if any(timestep.last() for timestep in self._timesteps):
      raise ValueError('an environment returned an episode of no steps')
    return dm_env.restart(self._stack('observation'))

  def step(self, action: np.ndarray) -> dm_env.TimeStep:
    rows = zip(self.environments, action, self._timesteps, strict=True)
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
    return self._batched(self.environments[0].observation_spec())

  def action_spec(self) -> specs.Array:
    return self._batched(self.environments[0].action_spec())

  def reward_spec(self) -> specs.Array:
    return self._batched(self.environments[0].reward_spec())

  def discount_spec(self) -> specs.Array:
    return self._batched(self.environments[0].discount_spec())

  def close(self):
    """Closes all; raises the first failure."""
    with contextlib.ExitStack() as closing:
      for environment in self.environments:
        closing.callback(environment.close)

  def _stack(self, field: str) -> np.ndarray:
    return np.stack([getattr(timestep, field) for timestep in self._timesteps])


class Evaluator:
  """Blocks of deterministic episodes in environments of their own."""

  def __init__(self, loop: acme.EnvironmentLoop, num_episodes: int):
    """Initializes the evaluator.

    Args:
      loop: an `acme.EnvironmentLoop` or `GuardedLoop` that does not update, of
        one environment or of several `SideBySide`.
      num_episodes: of a block.
    """
    self._loop = loop
    self._num_episodes = num_episodes

  def run(self) -> Dict[str, Any]:
    """Runs a block; returns mean, standard deviation, worst and best of the returns.

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

  def close(self):
    """Closes the environments."""
    self._loop.close()


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


# Added to the seed of acting environments: evaluation starts elsewhere.
EVALUATION_SEED = 1_000_000


def make_evaluator(
  config: config_lib.ExperimentConfig,
  policy: policies.BehaviorPolicy,
  environment_factory: environments.EnvironmentFactory,
  steps: int,
  report: Callable[[str], None],
) -> Evaluator:
  """Makes the evaluation of a run: its episodes side by side, under the guard.

  A fault in one of its environments costs the block; each has its own time limit.

  Args:
    config: the run.
    policy: without exploration; its weights are those of when a block begins.
    environment_factory: seed to wrapped environment; called for each episode of a block.
    steps: environment steps at this start of the run, which has seeds of its own.
    report: shows a line to a person.
  """
  seed, num_episodes = config.seed + EVALUATION_SEED, config.eval_episodes

  def side_by_side(number):
    seeds = [
      seeding.derive_seed(seed, steps, number, index) for index in range(num_episodes)
    ]
    with contextlib.ExitStack() as made:  # Where one cannot be made.
      block = []
      for each in seeds:
        block.append(environment_factory(each))
        made.callback(block[-1].close)
      made.pop_all()
    return SideBySide(block)

  timeout = num_episodes * config.limits.environment_timeout
  loop = environment_guard.GuardedLoop(
    environment_guard.GuardedEnvironment(side_by_side, timeout, config.max_episode_steps),
    acting.FeedForwardActor(policy),
    config.limits.max_environment_faults,
    report,
    should_update=False,
  )
  return Evaluator(loop, num_episodes)


def is_due(config: config_lib.ExperimentConfig, steps: float, evaluated: float) -> bool:
  """Returns whether to evaluate after `steps`, the last time being at `evaluated`."""
  if evaluated < 0 or (steps >= config.num_steps and evaluated < steps):
    return True
  return steps // config.eval_every > evaluated // config.eval_every
