"""A run of a small environment, 50 steps an episode, that goes wrong as told.

    python faulty_program.py WORKDIR CONFIG_AS_JSON FAULT[+FAULT]

Faults that happen once do so at the step that `ONCE` names, others after the 230th.
"""

import json
import sys
import time

from acme_dsdpg.running import network_isolation, quiet

quiet.silence()
_OPEN = network_isolation.confine() if __name__ == '__main__' else None

import dm_env
from dm_env import specs
import numpy as np

from acme_dsdpg import config as config_lib
from acme_dsdpg import environments
from acme_dsdpg.running import run_directory

ONCE = {'raise': 230, 'nan': 300, 'inf': 370, 'hang': 430}


class Environment(dm_env.Environment):
  taken = 0

  def __init__(self, faults):
    self._faults = faults

  def observation_spec(self):
    return specs.Array([3], np.float32)

  def action_spec(self):
    return specs.BoundedArray([1], np.float32, -1.0, 1.0)

  def reset(self):
    self._steps = 0
    if 'empty' in self._faults and Environment.taken > 230:
      return dm_env.termination(1.0, np.ones(3, np.float32))
    return dm_env.restart(np.ones(3, np.float32))

  def step(self, action):
    self._steps += 1
    Environment.taken += 1
    observation, reward = np.full(3, self._steps / 50, np.float32), 1.0
    faults = {f for f in self._faults if ONCE.get(f) in (None, Environment.taken)}
    late = Environment.taken > 230
    if 'raise' in faults or 'always' in faults and late:
      raise RuntimeError('physics diverged')
    if 'nan' in faults:
      observation[1] = np.nan
    if 'inf' in faults:
      reward = np.inf
    if 'hang' in faults or 'stall' in faults and late:
      time.sleep(1000)
    if 'slow' in faults:
      time.sleep(0.02)
    if 'short' in faults and self._steps == 2:
      return dm_env.termination(reward, observation)
    if self._steps == 50:
      return dm_env.truncation(reward, observation)
    return dm_env.transition(reward, observation)


class Factory:
  def __init__(self, faults):
    self._faults = faults

  def __call__(self, seed):
    return environments.wrap(Environment(self._faults))


def main(workdir, values, faults):
  values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
  is_distributed = values.pop('distributed', False)
  config = config_lib.make_config(values)
  from acme_dsdpg.running import environment_guard

  try:
    run_directory.prepare(workdir, config, fresh=False)
    if is_distributed:
      from acme_dsdpg.running import distributed

      return distributed.launch(config, workdir, Factory(faults))
    from acme_dsdpg.running import single_process

    single_process.run_experiment(config, workdir, Factory(faults))
  except config_lib.ConfigError as e:
    print(e, file=sys.stderr)
    return 2
  except environment_guard.RunFailedError as e:
    return f'failed: {e}'
  return 0


if __name__ == '__main__':
  sys.exit(main(sys.argv[1], json.loads(sys.argv[2]), sys.argv[3].split('+')))
