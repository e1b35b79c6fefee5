"""A run of a small environment, 50 steps an episode, that goes wrong as told.

    python faulty_program.py WORKDIR CONFIG_AS_JSON FAULT[+FAULT]

Faults that happen once do so at the step that `ONCE` names, others after the 230th.
"""

import json
import os
import signal
import sys
import threading
import time

import acme_dsdpg
from acme_dsdpg.running import network_isolation

acme_dsdpg.set_up()
_OPEN = network_isolation.confine() if __name__ == '__main__' else None

import dm_env
from dm_env import specs
import numpy as np

from acme_dsdpg import environments
from acme_dsdpg.agent import presets
from acme_dsdpg.running import command_line, run_directory, signals

# By the number of the step, counted over all environments of the process.
ONCE = {'terminate': 170, 'raise': 230, 'nan': 525, 'inf': 600, 'exit': 670, 'hang': 740}


def hang():
  threading.Event().wait()


class Environment(dm_env.Environment):
  def __init__(self, faults, taken):
    self._faults, self._taken = faults, taken

  def observation_spec(self):
    return specs.Array([3], np.float32)

  def action_spec(self):
    return specs.BoundedArray([1], np.float32, -1.0, 1.0)

  def reset(self):
    self._steps = 0
    return dm_env.restart(np.ones(3, np.float32))

  def step(self, action):
    self._steps += 1
    self._taken[0] += 1
    observation, reward = np.full(3, self._steps / 50, np.float32), 1.0
    faults = {f for f in self._faults if ONCE.get(f) in (None, self._taken[0])}
    if 'raise' in faults or 'always' in faults and self._taken[0] > 230:
      raise RuntimeError('physics diverged')
    if 'exit' in faults:
      sys.exit('licence expired')
    if 'nan' in faults:
      observation[1] = np.nan
    if 'inf' in faults:
      reward = np.inf
    if 'hang' in faults:
      hang()
    if 'terminate' in faults:
      os.kill(os.getpid(), signal.SIGTERM)
      signals._requested.wait()  # Noticed at the end of this step, not later.
    if 'slow' in faults:
      time.sleep(0.02)
    if 'short' in faults and self._steps == 2:
      return dm_env.termination(reward, observation)
    if self._steps == 50:
      return dm_env.truncation(reward, observation)
    return dm_env.transition(reward, observation)

  def close(self):
    if 'tell' in self._faults:
      print('closed', flush=True)


class Factory:
  """Makes environments that count their steps together, each process its own."""

  def __init__(self, faults):
    self._faults, self._taken = faults.split('+'), [0]

  def __call__(self, seed):
    return environments.wrap(Environment(self._faults, self._taken))


def main(workdir, values, faults):
  values = json.loads(values)
  is_distributed = values.pop('distributed', False)
  config = presets.make_config(values)
  run_directory.prepare(workdir, config, fresh=False)
  if is_distributed:
    from acme_dsdpg.running import distributed as kind
  else:
    from acme_dsdpg.running import single_process as kind
  kind.run(config, workdir, Factory(faults))


if __name__ == '__main__':
  command_line.run(main, 'WORKDIR CONFIG FAULTS...')
