"""Trains an agent on a dm_control task: `python launchers/run_dsdpg.py --env=walker`.

Every field of the config is a flag (`--help`). One process by default;
`--run_distributed` starts actors, learner, replay and evaluator as processes.
"""

import sys

from acme_dsdpg import quiet

quiet.silence()

from absl import app, flags

from acme_dsdpg import command_line, environments, run_directory
from acme_dsdpg import config as config_lib

_WORKDIR = flags.DEFINE_string(
  'workdir', None, 'Run directory. (default: runs/<env>-<task>/<agent>-seed<seed>)'
)
_FRESH = flags.DEFINE_bool('fresh', False, 'Remove what is in the run directory first.')
_DISTRIBUTED = flags.DEFINE_bool(
  'run_distributed', False, 'Run as Launchpad processes on this machine.'
)


def main():
  """Flags in, one call out."""
  # Not app.run: TensorFlow, imported within it, would start in graph mode.
  argv = app.parse_flags_with_usage(sys.argv)
  if len(argv) > 1:
    sys.exit(f'Unknown argument {argv[1]!r}: flags start with --. See --help.')
  try:
    config = command_line.config_from_flags()
    if _DISTRIBUTED.value and config.agent in config_lib.BASELINES:
      raise config_lib.ConfigError(
        f'agent={config.agent!r} runs in one process only: leave out --run_distributed.'
      )
    workdir = _WORKDIR.value or run_directory.default_workdir(config)
    run_directory.prepare(workdir, config, _FRESH.value)
  except config_lib.ConfigError as e:
    sys.exit(str(e))
  print(
    f'{config.agent} on {config.env}-{config.task}, run directory {workdir}', flush=True
  )
  factory = environments.SuiteFactory(config.env, config.task)
  if _DISTRIBUTED.value:
    from acme_dsdpg import distributed

    status = distributed.launch(config, workdir, factory)
    if status:
      sys.exit(status)
  else:
    from acme_dsdpg import experiment

    experiment.run_experiment(config, workdir, factory)
  print(f'done: {workdir}')


if __name__ == '__main__':
  command_line.define_flags()
  main()
