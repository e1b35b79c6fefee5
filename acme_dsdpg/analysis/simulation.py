"""The simulator as an oracle: set back to a state, asked what other actions give."""

from typing import Any, Callable, Dict, NamedTuple, Optional, Sequence

import numpy as np

from acme_dsdpg import config as config_lib
from acme_dsdpg import environments
from acme_dsdpg.environments import flatten

# Of the model: what resets of the suite move or resize, targets above all.
_PLACED = ('body_pos', 'body_quat', 'geom_pos', 'geom_size', 'site_pos', 'site_size')


class State(NamedTuple):
  """What a simulator is set back to.

  Attributes:
    physics: positions and velocities.
    warmstart: what warm-starts the solver.
    model: where bodies, geoms and sites are, and their sizes.
  """

  physics: np.ndarray
  warmstart: np.ndarray
  model: Dict[str, np.ndarray]


class Simulator:
  """A task of dm_control's suite that can be set back to a state.

  A task may hold more than `State` does, as point_mass-hard's random actuators: compare
  `outcome` with what was observed.
  """

  def __init__(self, env: str, task: Optional[str], seed: int = 0):
    """Initializes it with `environment`, which is `environments.make_environment`'s."""
    self.environment = environments.make_environment(env, task, seed)
    self._base = self.environment
    while hasattr(self._base, 'environment'):
      self._base = self._base.environment
    self.environment.reset()

  def state(self) -> State:
    """Returns where it stands."""
    physics = self._base.physics
    model = {field: getattr(physics.model, field).copy() for field in _PLACED}
    return State(physics.get_state(), physics.data.qacc_warmstart.copy(), model)

  def outcome(
    self, state: State, actions: Sequence[np.ndarray], discount: float
  ) -> np.ndarray:
    """Returns [R ; s+] after `actions`, [N, A] in [-1, 1], from `state`: [1 + S]."""
    remaining = iter(actions)
    return self._run(state, lambda _: next(remaining), len(actions), discount)

  def rollout(
    self,
    state: State,
    action: np.ndarray,
    policy: Callable[[np.ndarray], np.ndarray],
    discount: float,
    num_steps: int,
  ) -> np.ndarray:
    """Returns [R ; s+] after `action` in `state`, then `policy`'s actions: [1 + S].

    Args:
      state: from `state()`.
      action: [A] in [-1, 1].
      policy: flat observation [S] to action [A].
      discount: gamma.
      num_steps: steps in all, whose discounted rewards R is the sum of.
    """
    choose = lambda observation: action if observation is None else policy(observation)
    return self._run(state, choose, num_steps, discount)

  def _run(
    self,
    state: State,
    choose: Callable[[Any], np.ndarray],
    num_steps: int,
    discount: float,
  ) -> np.ndarray:
    """Runs; `choose` is given the observation, None before the first step."""
    physics = self._base.physics
    for field, value in state.model.items():
      getattr(physics.model, field)[:] = value
    physics.set_state(state.physics)
    physics.forward()
    physics.data.qacc_warmstart[:] = state.warmstart
    self._base._reset_next_step, self._base._step_count = False, 0
    total, observation = 0.0, None
    for i in range(num_steps):
      timestep = self._base.step(np.clip(choose(observation), -1.0, 1.0))
      total += discount**i * timestep.reward
      observation = flatten.flatten(timestep.observation)
      if timestep.last():
        break
    return np.concatenate([[total], observation])


def make_simulator(config: config_lib.ExperimentConfig, seed: int) -> Simulator:
  """Makes the simulator of a run's task.

  Raises:
    ConfigError: the run's environment was not deterministic, or repeated actions.
  """
  if config.action_repeat > 1:
    raise config_lib.ConfigError(
      f'action_repeat={config.action_repeat!r}: only an environment that takes each '
      'action once can be compared with its simulator.'
    )
  if config.action_noise:
    raise config_lib.ConfigError(
      f'action_noise={config.action_noise!r}: only an environment without noise can be '
      'compared with its simulator.'
    )
  return Simulator(config.env, config.task, seed)
