"""Evaluates a trained policy: `python launchers/evaluate.py RUN [--video=out.mp4]`."""

import acme_dsdpg

acme_dsdpg.set_up()

from absl import flags

from acme_dsdpg import config as config_lib
from acme_dsdpg.running import command_line, paths, rendering, run_directory

_EPISODES = flags.DEFINE_integer('episodes', 10, 'Episodes, without noise.', 1)
_SEED = flags.DEFINE_integer(
  'seed', 2_000_000, "Of the environment's randomness.", 0, 2**31 - 1
)
_VIDEO = flags.DEFINE_string('video', None, 'Video of the episodes to write (.mp4).')


def main(path):
  """Flags in, returns and a video out."""
  path, video = paths.directory(path, 'run directory'), None
  run = run_directory.load(path)
  if _VIDEO.value is not None:
    config_lib.check(
      _VIDEO.value.endswith('.mp4'), 'video', _VIDEO.value, 'a path that ends in .mp4'
    )
    video = command_line.output_path(_VIDEO)
    rendering.choose_backend()
  evaluate(run, acme_dsdpg.load_policy(path), video)


def evaluate(run, policy, video_path):
  """Runs the episodes and prints; `run` is the config of the policy's run."""
  import acme
  from acme.utils import loggers

  from acme_dsdpg import environments
  from acme_dsdpg.running import evaluation
  from acme_dsdpg.running import video as video_lib

  environment = environments.SuiteFactory.of_run(run)(_SEED.value)
  environment = environments.TimeLimit(environment, run.max_episode_steps)
  size = environment.observation_spec().shape[-1]
  if size != policy.observation_size:
    raise config_lib.ConfigError(
      f'The policy takes observations of {policy.observation_size} numbers, {run.env}-'
      f'{run.task} has {size}. Trained in an environment of your own it is evaluated '
      'there: acme_dsdpg.load_policy.'
    )
  repeat = run.action_repeat
  video = video_lib.Video(video_path, action_repeat=repeat) if video_path else None
  loop = acme.EnvironmentLoop(
    environment,
    evaluation.PolicyActor(policy),
    logger=loggers.NoOpLogger(),
    should_update=False,
    observers=[video] if video else [],
  )
  try:
    row = evaluation.Evaluator(loop, _EPISODES.value).run()
  finally:
    environment.close()
    if video:
      video.close()
  plural = 's' if row['episodes'] > 1 else ''
  print(
    f'{run.agent} on {run.env}-{run.task}, {row["episodes"]} episode{plural}: return '
    f'{row["episode_return"]:.1f} +- {row["episode_return_std"]:.1f}, worst '
    f'{row["episode_return_min"]:.1f}, best {row["episode_return_max"]:.1f}'
  )
  if video:
    print(video_path)


if __name__ == '__main__':
  command_line.run(main, 'one run directory')
