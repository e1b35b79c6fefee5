"""dm_control tasks, and anyone's dm_env environments, as the agent wants them.

Observations become one flat float32 vector, actions one vector in [-1, 1].
"""

from collections.abc import Mapping
import dataclasses
import logging as python_logging
import os
from typing import Any, Callable, List, Optional

import dm_env
from dm_env import specs
import numpy as np

from acme_dsdpg import config as config_lib

# Without a display dm_control, imported later, complains unless told that nothing is
# rendered.
os.environ.setdefault('MUJOCO_GL', 'disable')
# MuJoCo, through dm_control and absl, warns of attributes in dm_control's own models.
python_logging.getLogger('absl').addFilter(
  lambda record: 'will be removed in a future release' not in str(record.msg)
)

# (seed) -> environment. Must be picklable for distributed runs.
EnvironmentFactory = Callable[[int], dm_env.Environment]

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
  """The task of a domain, its default if None. TensorFlow is not imported.

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
  """A task of dm_control's suite, wrapped.

  Args:
    env: the domain.
    task: None is the domain's default.
    seed: of the task's randomness (initial states, targets, noise).
    action_noise: deviation of Gaussian noise that is added to the actions and then
      clipped to their bounds, as a fraction of their range.

  Raises:
    ConfigError: unknown domain or task.
  """
  task = resolve_task(env, task)
  from dm_control import suite
  from dm_control.suite.wrappers import action_noise as action_noise_lib

  environment = suite.load(env, task, task_kwargs={'random': seed})
  if action_noise:
    environment = action_noise_lib.Wrapper(environment, action_noise)
  return wrap(environment)


@dataclasses.dataclass(frozen=True)
class SuiteFactory:
  """seed -> `make_environment(env, task, seed, action_noise)`; picklable."""

  env: str
  task: Optional[str] = None
  action_noise: float = 0.0

  def __call__(self, seed: int) -> dm_env.Environment:
    return make_environment(self.env, self.task, seed, self.action_noise)


def wrap(environment: dm_env.Environment) -> dm_env.Environment:
  """Checks an environment and makes its specs what the agent wants.

  Observations: nested dicts, lists and scalars of any float, integer or bool type
  are flattened in a fixed order (keys sorted) to one float32 vector. Actions: one
  vector in [-1, 1], clipped, then scaled to the environment's bounds. Reward and
  discount: float32.

  Raises:
    ConfigError: an image or discrete space, or bounds missing or not finite.
  """
  check_environment(environment)
  # Acme's wrappers bring TensorFlow along, so only now.
  from acme import wrappers

  from acme_dsdpg.environments import flatten

  environment = flatten.FlattenObservationWrapper(environment)
  environment = wrappers.CanonicalSpecWrapper(environment, clip=True)
  return wrappers.SinglePrecisionWrapper(environment)


def check_environment(environment: dm_env.Environment):
  """Raises ConfigError on spaces that the agent cannot handle."""
  error = config_lib.ConfigError
  actions = environment.action_spec()
  if isinstance(actions, specs.DiscreteArray) or (
    isinstance(actions, specs.Array) and not np.issubdtype(actions.dtype, np.floating)
  ):
    raise error(
      f'The action space is discrete ({actions!r}); a continuous one is needed.'
    )
  if not isinstance(actions, specs.BoundedArray):
    raise error(f'The actions have no bounds ({actions!r}); finite ones are needed.')
  if len(actions.shape) != 1 or not actions.shape[0]:
    raise error(f'The actions must be one vector, not {actions!r}.')
  low, high = np.broadcast_arrays(actions.minimum, actions.maximum)
  if not (np.all(np.isfinite(low)) and np.all(np.isfinite(high))):
    raise error(f'The action bounds are not finite: {actions!r}.')
  if np.any(low >= high):
    raise error(f"An action's minimum is not below its maximum: {actions!r}.")
  leaves = _leaves(environment.observation_spec())
  if not sum(int(np.prod(spec.shape)) for spec in leaves):
    raise error('The observation is empty.')
  for spec in leaves:
    if len(spec.shape) > 2:
      raise error(f'The observation has an image ({spec!r}); only vectors are handled.')
    if isinstance(spec, specs.DiscreteArray):
      raise error(f'The observation has a discrete entry ({spec!r}).')
    if spec.dtype.kind not in 'fiub':
      raise error(f'The observation has an entry that is no number ({spec!r}).')


def _leaves(nest: Any) -> List[specs.Array]:
  """The leaves of a nested spec."""
  if isinstance(nest, Mapping):
    return [leaf for value in nest.values() for leaf in _leaves(value)]
  if isinstance(nest, (list, tuple)):
    return [leaf for value in nest for leaf in _leaves(value)]
  return [nest]
