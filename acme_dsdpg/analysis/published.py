"""Published curves, read from a CSV file."""

import collections
import csv
from typing import Dict, Mapping, NamedTuple, Sequence

import numpy as np

from acme_dsdpg import config as config_lib


class Curve(NamedTuple):
  """A published curve.

  Attributes:
    steps: environment steps, [T].
    mean: of the return over seeds, [T].
    std: standard deviation over seeds, [T].
    seeds: their number.
    action_repeat: environment steps that each action is taken for; '' if not stated.
  """

  steps: np.ndarray
  mean: np.ndarray
  std: np.ndarray
  seeds: str
  action_repeat: str


def read(path: str, agents: Sequence[str]) -> Dict[str, Dict[str, Curve]]:
  """Reads published curves from a CSV file: {agent: {<env>_<task>: curve}}.

  Raises:
    ConfigError: nothing is published of one of the agents.
  """
  rows = collections.defaultdict(lambda: collections.defaultdict(list))
  with open(path, encoding='utf-8') as file:
    for row in csv.DictReader(file):
      rows[row['agent']][row['task']].append(row)
  for agent in agents:
    if agent not in rows:
      raise config_lib.ConfigError(
        f'references={",".join(agents)!r} is not valid: {agent!r} is none of '
        f'{", ".join(sorted(rows))}.'
      )
  return {
    agent: {
      task: _curve(sorted(points, key=lambda row: float(row['env_steps'])))
      for task, points in rows[agent].items()
    }
    for agent in agents
  }


def _curve(rows: Sequence[Mapping[str, str]]) -> Curve:
  column = lambda name: np.array([float(row[name]) for row in rows])
  return Curve(
    column('env_steps'),
    column('mean_return'),
    column('std_over_seeds'),
    rows[-1]['seeds'],
    rows[-1]['action_repeat'],
  )
