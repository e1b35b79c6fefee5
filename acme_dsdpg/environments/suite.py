"""Tasks of dm_control's suite, wrapped."""

import dataclasses
import os
import sys
from types import ModuleType
from typing import Any, Optional

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
  'manipulator': 'bring_ball',
  'pendulum': 'swingup',
  'point_mass': 'easy',
  'quadruped': 'walk',
  'reacher': 'easy',
  'stacker': 'stack_2',
  'swimmer': 'swimmer6',
  'walker': 'walk',
}


# The domains that cannot be trained in.
UNFIT = {
  'lqr': 'its actions have no bounds (dm_control gives 1e10) and its episodes no end',
}


def resolve_task(env: str, task: Optional[str] = None) -> str:
  """Returns the task of a domain, its default if None.

  Raises:
    ConfigError: an unknown domain or task; the valid ones are listed. Or one that cannot
      be trained in.
  """
  tasks = dict(_import_suite().TASKS_BY_DOMAIN)
  for unfit, reason in UNFIT.items():
    if env == unfit:
      raise config_lib.ConfigError(f'env={env!r} cannot be trained in: {reason}.')
    tasks.pop(unfit, None)
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
  env: str,
  task: Optional[str] = None,
  seed: int = 0,
  action_noise: float = 0.0,
  action_repeat: int = 1,
) -> dm_env.Environment:
  """Makes a task of dm_control's suite, wrapped.

  Args:
    env: the domain.
    task: None is the domain's default.
    seed: of the task's randomness (initial states, targets, noise).
    action_noise: standard deviation of Gaussian noise on the actions, which are then
      clipped to their bounds; as a fraction of their range. Anew in each simulator step.
    action_repeat: simulator steps that take each action; the reward is their sum.

  Raises:
    ConfigError: unknown domain or task.
  """
  task = resolve_task(env, task)
  environment = _import_suite().load(env, task, task_kwargs={'random': seed})
  if env == 'quadruped':
    _need_no_rendering(environment.physics)
  if action_noise:
    from dm_control.suite.wrappers import action_noise as action_noise_lib

    environment = action_noise_lib.Wrapper(environment, action_noise)
  environment = wrapping.wrap(environment)
  if action_repeat > 1:
    from acme.wrappers import action_repeat as action_repeat_lib

    environment = action_repeat_lib.ActionRepeatWrapper(environment, action_repeat)
  return environment


def _import_suite() -> ModuleType:
  """Imports dm_control's suite; one that cannot render will do, a line says so."""
  try:
    from dm_control import suite
  except Exception as e:  # Each library of OpenGL fails in its own way.
    given = os.environ.get('MUJOCO_GL', 'disable')
    if given == 'disable':
      raise
    print(
      f'WARNING: MUJOCO_GL={given!r} does not work here, so nothing can be rendered '
      f'({str(e).splitlines()[0].rstrip(".")}).',
      file=sys.stderr,
      flush=True,
    )
    os.environ['MUJOCO_GL'] = 'disable'
    from dm_control import suite
  return suite


def _need_no_rendering(physics: Any):
  """Lets quadruped-escape go on where nothing can be rendered.

  Its task asks for the rendering context, which is made then, to upload the terrain.
  """
  base = type(physics)

  class Physics(base):
    @property
    def contexts(self):
      try:
        return base.contexts.fget(self)
      except Exception:  # As above.
        return None

  physics.__class__ = Physics


@dataclasses.dataclass(frozen=True)
class SuiteFactory:
  """A picklable function: seed to `make_environment` with these arguments."""

  env: str
  task: Optional[str] = None
  action_noise: float = 0.0
  action_repeat: int = 1

  @classmethod
  def of_run(cls, config: config_lib.ExperimentConfig) -> 'SuiteFactory':
    """Makes the factory of a run's environments."""
    return cls(config.env, config.task, config.action_noise, config.action_repeat)

  def __call__(self, seed: int) -> dm_env.Environment:
    return make_environment(
      self.env, self.task, seed, self.action_noise, self.action_repeat
    )
