"""Evaluates a trained policy: `python launchers/evaluate.py RUN [--video=out.mp4]`."""

import os
import subprocess
import sys

from absl import flags

from acme_dsdpg import config as config_lib
from acme_dsdpg.running import command_line

_EPISODES = flags.DEFINE_integer('episodes', 10, 'Episodes, without noise.', 1)
_SEED = flags.DEFINE_integer(
  'seed', 2_000_000, "Of the environment's randomness.", 0, 2**31 - 1
)
_VIDEO = flags.DEFINE_string('video', None, 'Film of the episodes to write (.mp4).')

_BACKENDS = ('egl', 'osmesa', 'glfw')


def renders(backend):
  """Whether a process of its own can render with this value of MUJOCO_GL."""
  probe = (
    "from dm_control import suite; suite.load('cartpole', 'balance').physics.render(8, 8)"
  )
  environment = {**os.environ, 'MUJOCO_GL': backend}
  quiet = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
  command = [sys.executable, '-c', probe]
  return not subprocess.run(command, env=environment, check=False, **quiet).returncode


def choose_backend():
  """Sets MUJOCO_GL to the first backend that renders here, unless it is set.

  Exits with what to install if none does.

  Raises:
    ConfigError: the one that is set does not.
  """
  # 'disable' is what `environments` sets where nothing is to be rendered.
  given = os.environ.get('MUJOCO_GL') or 'disable'
  if given != 'disable':
    if not renders(given):
      raise config_lib.ConfigError(
        f'Cannot render with MUJOCO_GL={given!r}: leave it unset, and what works here is '
        'found.'
      )
    return
  for backend in _BACKENDS:
    if renders(backend):
      os.environ['MUJOCO_GL'] = backend
      return
  sys.exit(
    'Cannot render: neither EGL, OSMesa nor a display works here. Install libegl1 '
    '(and the GPU driver, or libgl1-mesa-dri), or libosmesa6.'
  )


def main(path):
  """Runs the episodes, prints their returns, writes the film."""
  if _VIDEO.value:
    if not _VIDEO.value.endswith('.mp4'):
      raise config_lib.ConfigError(
        f'video={_VIDEO.value!r} is not valid: it must end in .mp4.'
      )
    command_line.output_path(_VIDEO)
    choose_backend()

  from acme_dsdpg.running import quiet

  quiet.silence()
  import acme_dsdpg
  from acme_dsdpg.running import run_directory

  evaluate(run_directory.load(path), acme_dsdpg.load_policy(path))


def evaluate(run, policy):
  """Runs and prints; `run` is the config of the run that trained the policy."""
  import acme
  from acme.utils import loggers

  from acme_dsdpg import environments
  from acme_dsdpg.running import evaluation

  environment = environments.make_environment(
    run.env, run.task, _SEED.value, run.action_noise
  )
  size = environment.observation_spec().shape[-1]
  if size != policy.observation_size:
    raise config_lib.ConfigError(
      f'The policy takes observations of {policy.observation_size} numbers, {run.env}-'
      f'{run.task} has {size}. Trained in an environment of your own it is evaluated '
      'there: acme_dsdpg.load_policy.'
    )
  film = evaluation.Film(_VIDEO.value) if _VIDEO.value else None
  loop = acme.EnvironmentLoop(
    environment,
    evaluation.PolicyActor(policy),
    logger=loggers.NoOpLogger(),
    should_update=False,
    observers=[film] if film else [],
  )
  try:
    row = evaluation.Evaluator(loop, _EPISODES.value).run()
  finally:
    if film:
      film.close()
  plural = 's' if row['episodes'] > 1 else ''
  print(
    f'{run.agent} on {run.env}-{run.task}, {row["episodes"]} episode{plural}: return '
    f'{row["episode_return"]:.1f} +- {row["episode_return_std"]:.1f}, worst '
    f'{row["episode_return_min"]:.1f}, best {row["episode_return_max"]:.1f}'
  )
  if film:
    print(_VIDEO.value)


if __name__ == '__main__':
  command_line.run(main, 'one run directory')
