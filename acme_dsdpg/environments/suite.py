"""Tasks of dm_control's suite, wrapped. TensorFlow is imported when one is made."""

import dataclasses
from typing import Optional

import dm_env

from acme_dsdpg import config as config_lib
from acme_dsdpg.environments import wrapping

# Where a domain has more than one task; otherwise the only one is the default.
DEFAULT_TASKS = {
  'acrobot': 'swingup',
  'ball_in_cup': 'catch',
  'cartpole': 'swingup',
  'cheetah': 'run',
  'dog': 'walk',
  'finger': 'spin',
  'fish': 'swim',
  'hopper': 'hop',
  'humanoid': 'walk',
  'humanoid_CMU': 'run',
  'lqr': 'lqr_2_1',
  'manipulator': 'bring_ball',
  'pendulum': 'swingup',
  'point_mass': 'easy',
  'quadruped': 'walk',
  'reacher': 'easy',
  'stacker': 'stack_2',
  'swimmer': 'swimmer6',
  'walker': 'walk',
}


def resolve_task(env: str, task: Optional[str] = None) -> str:
  """Returns the task of a domain, its default if None.

  Raises:
    ConfigError: an unknown domain or task; the valid ones are listed.
  """
  from dm_control import suite

  tasks = suite.TASKS_BY_DOMAIN
  if env not in tasks:
    raise config_lib.ConfigError(
      f"env={env!r} is not a domain of dm_control's suite. Valid: "
      f'{", ".join(sorted(tasks))}.{config_lib.nearest(env, tasks)}'
    )
  task = task or DEFAULT_TASKS.get(env, tasks[env][0])
  if task not in tasks[env]:
    raise config_lib.ConfigError(
      f'task={task!r} is not a task of {env}. Valid: {", ".join(tasks[env])}.'
      f'{config_lib.nearest(task, tasks[env])}'
    )
  return task


def make_environment(
  env: str, task: Optional[str] = None, seed: int = 0, action_noise: float = 0.0
) -> dm_env.Environment:
  """Makes a task of dm_control's suite, wrapped.

  Args:
    env: the domain.
    task: None is the domain's default.
    seed: of the task's randomness (initial states, targets, noise).
    action_noise: standard deviation of Gaussian noise on the actions, which are then
      clipped to their bounds; as a fraction of their range.

  Raises:
    ConfigError: unknown domain or task.
  """
  task = resolve_task(env, task)
  from dm_control import suite
  from dm_control.suite.wrappers import action_noise as action_noise_lib

  environment = suite.load(env, task, task_kwargs={'random': seed})
  if action_noise:
    environment = action_noise_lib.Wrapper(environment, action_noise)
  return wrapping.wrap(environment)


@dataclasses.dataclass(frozen=True)
class SuiteFactory:
  """A picklable function: seed to `make_environment(env, task, seed, action_noise)`."""

  env: str
  task: Optional[str] = None
  action_noise: float = 0.0

  def __call__(self, seed: int) -> dm_env.Environment:
    return make_environment(self.env, self.task, seed, self.action_noise)
