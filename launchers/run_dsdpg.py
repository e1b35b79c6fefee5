"""Trains an agent on a dm_control task: `python launchers/run_dsdpg.py --env=walker`.

Every field of the config is a flag (`--help`). One process by default;
`--run_distributed` starts actors, learner, replay and evaluator as processes. The
defaults that are shown are the default agent's; another agent's preset and
`configs/environments.json` come before them.
"""

import sys

import acme_dsdpg
from acme_dsdpg.running import network_isolation

acme_dsdpg.set_up()
_OPEN = network_isolation.confine() if __name__ == '__main__' else None

from absl import flags

from acme_dsdpg import config as config_lib
from acme_dsdpg import environments, stand_ins
from acme_dsdpg.agent import presets
from acme_dsdpg.running import command_line, notices, paths, run_directory

_WORKDIR = flags.DEFINE_string(
  'workdir', None, 'Run directory. (default: runs/<env>-<task>/<agent>-seed<seed>)'
)
_FRESH = flags.DEFINE_bool('fresh', False, 'Remove what is in the run directory first.')
_DISTRIBUTED = flags.DEFINE_bool(
  'run_distributed', False, 'Run as Launchpad processes on this machine.'
)


def main():
  """Flags in, one call out."""
  config = command_line.config_from_flags()
  if _DISTRIBUTED.value and config.agent in presets.BASELINES:
    raise config_lib.ConfigError(
      f'agent={config.agent!r} runs in one process only: leave out --run_distributed.'
    )
  if _DISTRIBUTED.value and not stand_ins.has_launchpad():
    raise config_lib.ConfigError(
      '--run_distributed needs Launchpad, which there is for Python 3.10 and none later.'
    )
  workdir = _WORKDIR.value
  if workdir is None:
    workdir = run_directory.default_workdir(config)
  workdir = paths.directory(workdir, 'workdir')
  run_directory.prepare(workdir, config, _FRESH.value)
  if _OPEN:
    print(_OPEN, file=sys.stderr, flush=True)
  notices.say(f'{config.agent} on {config.env}-{config.task}, run directory {workdir}')
  factory = environments.SuiteFactory.of_run(config)
  if _DISTRIBUTED.value:
    from acme_dsdpg.running import distributed as kind
  else:
    from acme_dsdpg.running import single_process as kind
  kind.run(config, workdir, factory)
  notices.say(f'done: {workdir}')


if __name__ == '__main__':
  command_line.define_flags()
  command_line.run(main)
