"""A run in one process: acting, learning, evaluation, logs, checkpoints."""

import contextlib
import os
import shutil
import signal
import time
from typing import Any, Mapping

import acme
from acme import core, specs
from acme.tf import savers
from acme.utils import counting, loggers
import dm_env
import reverb
import tensorflow as tf

from acme_dsdpg import config as config_lib
from acme_dsdpg import d4pg, environments, evaluation, logging, quiet
from acme_dsdpg import networks as networks_lib

# Added to the seed of acting environments: evaluation starts elsewhere.
EVALUATION_SEED = 1_000_000


def run_experiment(
  config: config_lib.ExperimentConfig,
  workdir: str,
  environment_factory: environments.EnvironmentFactory,
):
  """Trains to `config.num_steps` in one process, or goes on where it stopped.

  Evaluates before the first step, every `eval_every` steps and at the end, and
  saves learner, counters and policy each time. Interrupted by SIGINT or SIGTERM it
  saves and raises SystemExit. The replay buffer is not saved: a resumed run fills
  it to `min_replay_size` again before it learns on.

  Args:
    config: the run.
    workdir: its directory, prepared by `run_directory.prepare`.
    environment_factory: seed to wrapped environment.
  """
  builder = d4pg.make_builder(config.agent, config.dsdpg)
  set_up_tensorflow(config)
  environment = environment_factory(config.seed)
  environment_spec = specs.make_environment_spec(environment)
  networks = builder.make_networks(environment_spec, config.seed)
  policy = networks.make_acting_policy()

  counter = counting.Counter()
  child = lambda prefix: counting.Counter(counter, prefix, time_delta=0.0)
  # One thread acts and learns, and counts by itself.
  with quiet.native_stderr():
    server = reverb.Server(builder.make_replay_tables(environment_spec, limit_rate=False))
  client = reverb.Client(f'localhost:{server.port}')
  learner = builder.make_learner(
    environment_spec,
    networks,
    builder.make_dataset_iterator(client),
    config.seed,
    child('learner'),
    logging.make_logger(workdir, 'learner', 'learner_steps'),
    config.log_every,
  )
  # Both actors use the learner's own weights, so they are always current.
  actor = LearningActor(
    builder.make_actor(
      builder.make_behavior_policy(environment_spec, policy),
      policy,
      builder.make_adder(client),
    ),
    learner,
    config.dsdpg.min_replay_size,
    config.dsdpg.updates_per_step,
  )
  train_loop = acme.EnvironmentLoop(
    environment, actor, child('actor'), loggers.NoOpLogger()
  )
  evaluator = evaluation.Evaluator(
    environment_factory(config.seed + EVALUATION_SEED),
    builder.make_actor(policy, policy),
    config.eval_episodes,
  )
  checkpointer = make_checkpointer(config, workdir, {**learner.state, 'counter': counter})
  start_counts(counter)

  actor_logger = logging.make_logger(workdir, 'actor')
  evaluator_logger = logging.make_logger(workdir, 'evaluator')
  steps = counter.get_counts()['actor_steps']
  progress = logging.Progress(config.num_steps, steps)
  if steps:
    progress.line(f'resuming at step {steps}')

  def evaluate():
    row = {**evaluator.run(), **counter.get_counts()}
    evaluator_logger.write(row)
    progress.evaluation(row)

  def save():
    checkpointer.save(force=True)
    save_policy(policy, environment_spec, os.path.join(workdir, 'policy'))

  with _termination_as_exit():
    try:
      if not steps:
        evaluate()
        save()
      start = time.time()
      while steps < config.num_steps:
        row = train_loop.run_episode()
        counter.increment(train_seconds=time.time() - start)
        start = time.time()
        row.update(counter.get_counts())
        actor_logger.write(row)
        progress.episode(row)
        before, steps = steps, row['actor_steps']
        if steps // config.eval_every > before // config.eval_every or (
          steps >= config.num_steps
        ):
          evaluate()
          save()
          start = time.time()  # Evaluation is not training time.
    except SystemExit:
      progress.line('interrupted: saving; the same command goes on from here')
      save()
      raise SystemExit(130) from None
    finally:
      progress.close()
      for logger in (actor_logger, evaluator_logger):
        logger.close()
      with quiet.native_stderr():
        server.stop()


class LearningActor(core.Actor):
  """An actor that takes `updates_per_step` learner steps an environment step.

  As `acme.agents.agent.Agent`, but for any ratio, not only whole ones.
  """

  def __init__(
    self,
    actor: core.Actor,
    learner: core.Learner,
    min_observations: int,
    updates_per_step: float,
  ):
    self._actor = actor
    self._learner = learner
    self._num_observations = -min_observations
    self._updates_per_step = updates_per_step
    self._num_updates = 0

  def select_action(self, observation):
    return self._actor.select_action(observation)

  def observe_first(self, timestep: dm_env.TimeStep):
    self._actor.observe_first(timestep)

  def observe(self, action, next_timestep: dm_env.TimeStep):
    self._num_observations += 1
    self._actor.observe(action, next_timestep)

  def update(self, wait: bool = False):
    due = int(self._num_observations * self._updates_per_step)
    while self._num_updates < due:
      self._learner.step()
      self._num_updates += 1
    self._actor.update(wait)


def set_up_tensorflow(config: config_lib.ExperimentConfig):
  """Threads and the global seed (exploration noise); once a process."""
  tf.config.threading.set_intra_op_parallelism_threads(config.num_threads)
  tf.config.threading.set_inter_op_parallelism_threads(config.num_threads)
  tf.random.set_seed(config.seed)


def make_checkpointer(
  config: config_lib.ExperimentConfig, workdir: str, objects: Mapping[str, Any]
) -> savers.Checkpointer:
  """Below `workdir`; restores the newest checkpoint if there is one."""
  return savers.Checkpointer(
    objects,
    directory=workdir,
    subdirectory='learner',
    time_delta_minutes=config.checkpoint_every / 60.0,
    add_uid=False,
    max_to_keep=2,
  )


def save_policy(
  policy: networks_lib.ActingPolicy, spec: specs.EnvironmentSpec, path: str
):
  """Writes the acting policy as a SavedModel: observation [B, S] to action [B, A].

  The model is complete before it takes the place of an earlier one.
  """
  module = tf.Module()
  module.weights = policy.variables  # Not the model: its layers would be traced too.
  signature = tf.TensorSpec([None, *spec.observations.shape], tf.float32, 'observation')
  module.__call__ = tf.function(lambda observation: policy(observation), [signature])
  temporary = f'{path}.tmp'
  shutil.rmtree(temporary, ignore_errors=True)
  tf.saved_model.save(module, temporary, signatures=module.__call__)
  shutil.rmtree(path, ignore_errors=True)
  os.rename(temporary, path)


def start_counts(counter: counting.Counter):
  """Makes each count present from the first row on, which fixes a CSV file's columns."""
  keys = ('actor_steps', 'actor_episodes', 'learner_steps', 'train_seconds')
  counter.increment(**dict.fromkeys(keys, 0))


@contextlib.contextmanager
def _termination_as_exit():
  """Within it SIGINT and SIGTERM raise SystemExit.

  SIGINT as well, since a shell that starts a command in the background has it ignored.
  """

  def handler(signum, frame):
    del signum, frame
    raise SystemExit

  signals = (signal.SIGINT, signal.SIGTERM)
  previous = [signal.signal(number, handler) for number in signals]
  try:
    yield
  finally:
    for number, old in zip(signals, previous):
      signal.signal(number, old)
