"""A run in one process: acting, learning, evaluation, logs, checkpoints."""

import os
import shutil
import time
from typing import Callable, Optional

from acme import core, specs
from acme.utils import counting
import dm_env
import numpy as np
import reverb
import tensorflow as tf

from acme_dsdpg import config as config_lib
from acme_dsdpg import environments
from acme_dsdpg import networks as networks_lib
from acme_dsdpg.agent import adders as agent_adders
from acme_dsdpg.agent import d4pg, learning
from acme_dsdpg.running import (
  checkpointing,
  environment_guard,
  evaluation,
  log_files,
  notices,
  quiet,
  signals,
)
from acme_dsdpg.running import loggers as run_loggers

# Added to the seed of acting environments: evaluation starts elsewhere.
EVALUATION_SEED = 1_000_000


def run_experiment(
  config: config_lib.ExperimentConfig,
  workdir: str,
  environment_factory: environments.EnvironmentFactory,
):
  """Trains to `config.num_steps` in one process, or goes on where it stopped.

  Evaluates before the first step, every `eval_every` steps and at the end. Learner,
  counts and replay are saved then and every `checkpoint_every` seconds, between two
  episodes. Interrupted by SIGINT or SIGTERM it saves and raises SystemExit.

  Args:
    config: the run.
    workdir: its directory, prepared by `run_directory.prepare`.
    environment_factory: seed to wrapped environment.

  Raises:
    RunFailedError: environment or learner failed too often in a row.
    ConfigError: the newest checkpoint is another run's.
  """
  with signals.handled():
    cut = checkpointing.newest(workdir)
    if cut is not None:
      checkpointing.check_config(cut, config)
    checkpointing.clean(workdir, cut)
    log_files.truncate(workdir, None if cut is None else cut.counts)
    run = _Run(config, workdir, environment_factory, cut)
    try:
      run.train()
    except KeyboardInterrupt:
      run.progress.line('interrupted: saving; the same command goes on from here')
      run.save()
      raise SystemExit(130) from None
    except learning.NonFiniteError as e:
      raise failed_learning(e, workdir) from e
    except environment_guard.NonFiniteActionError:
      raise  # Not a policy to be saved.
    except environment_guard.RunFailedError:
      run.save()
      raise
    finally:
      run.close()


def failed_learning(
  error: learning.NonFiniteError, workdir: str
) -> environment_guard.RunFailedError:
  """Keeps the offending batch; returns what the run ends with."""
  path = os.path.join(workdir, 'offending_batch.npz')
  np.savez(path, **learning.named_arrays(error.batch))
  return environment_guard.RunFailedError(
    f'{error} The last batch is in {path}, the last checkpoint is untouched.'
  )


class _Run:
  """The parts of a run in one process."""

  def __init__(
    self,
    config: config_lib.ExperimentConfig,
    workdir: str,
    environment_factory: environments.EnvironmentFactory,
    cut: Optional[checkpointing.Cut],
  ):
    self._config, self._workdir = config, workdir
    steps = int(cut.counts['actor_steps']) if cut is not None else 0
    self.progress = run_loggers.Progress(config.num_steps, steps)
    builder = d4pg.make_builder(config.agent, config.dsdpg)
    set_up_tensorflow(config, derive_seed(config.seed, steps))

    environment = environment_guard.GuardedEnvironment(
      lambda number: environment_factory(derive_seed(config.seed, steps, number)),
      config.environment_timeout,
    )
    self._spec = spec = specs.make_environment_spec(environment)
    networks = builder.make_networks(spec, config.seed)
    self._policy = policy = networks.make_acting_policy()

    self.counter = counting.Counter()
    child = lambda prefix: counting.Counter(self.counter, prefix, time_delta=0.0)
    # One thread acts and learns, and counts by itself.
    tables = builder.make_replay_tables(spec, limit_rate=False)
    with quiet.native_stderr():
      self._server = reverb.Server(
        tables, checkpointer=checkpointing.replay_checkpointer(workdir, cut, tables)
      )
    self._client = reverb.Client(f'localhost:{self._server.port}')
    self._learner_logger = run_loggers.make_logger(workdir, 'learner', 'learner_steps')
    learner = builder.make_learner(
      spec,
      networks,
      builder.make_dataset_iterator(self._client),
      config.seed,
      child('learner'),
      self._learner_logger,
      config.log_every,
      config.max_skipped_updates,
    )
    # Both actors use the learner's own weights, so they are always current.
    self._adder = adder = agent_adders.ReplaceableAdder(
      lambda: builder.make_adder(self._client)
    )
    (table,) = self._client.server_info().values()
    actor = LearningActor(
      builder.make_actor(builder.make_behavior_policy(spec, policy), policy, adder),
      learner,
      max(0, config.dsdpg.min_replay_size - table.current_size),
      config.dsdpg.updates_per_step,
      self.progress.line,
    )
    guards = (config.max_environment_faults, self.progress.line)
    self._train_loop = environment_guard.GuardedLoop(
      environment, actor, *guards, child('actor'), adder
    )
    self._evaluator = make_evaluator(
      config, policy, environment_factory, steps, self.progress.line
    )
    self._checkpointer = checkpointing.Checkpointer(workdir, config, learner.state)
    if cut is not None:
      self._checkpointer.restore(cut)
      self.counter.restore({'counts': dict(cut.counts), 'cache': {}})
      self.progress.line(f'resuming at step {steps}')
    start_counts(self.counter)
    self._actor_logger = run_loggers.make_logger(workdir, 'actor')
    self._evaluator_logger = run_loggers.make_logger(workdir, 'evaluator')

  def train(self):
    """To the end."""
    config = self._config
    steps = self.counter.get_counts()['actor_steps']
    evaluated = log_files.last_row(self._workdir, 'evaluator').get('actor_steps', -1)
    if evaluation_due(config, steps, evaluated):
      self._evaluate()
      self.save()
    while steps < config.num_steps:
      start = time.time()
      try:
        row = self._train_loop.run_episode()
      finally:
        seconds = time.time() - start
        self.counter.increment(train_seconds=seconds)
      row.update(self.counter.get_counts())
      self._actor_logger.write(row)
      self.progress.episode(row)
      before, steps = steps, row['actor_steps']
      if evaluation_due(config, steps, before):
        self._evaluate()
        self.save()
      elif time.time() - self._checkpointer.last_save + seconds > config.checkpoint_every:
        self.save()

  def save(self):
    """Everything that the same command needs to go on."""
    with quiet.native_stderr(), signals.busy():
      if self._checkpointer.save(self.counter.get_counts(), self._client):
        save_policy(self._policy, self._spec, os.path.join(self._workdir, 'policy'))

  def close(self):
    """Closes what writes and serves."""
    self.progress.close()
    for logger in (self._actor_logger, self._evaluator_logger, self._learner_logger):
      logger.close()
    self._adder.reset()  # While the server still takes what it holds.
    with quiet.native_stderr():
      self._server.stop()

  def _evaluate(self):
    row = {**self._evaluator.run(), **self.counter.get_counts()}
    self._evaluator_logger.write(row)
    self.progress.evaluation(row)


def make_evaluator(
  config: config_lib.ExperimentConfig,
  policy: networks_lib.ActingPolicy,
  environment_factory: environments.EnvironmentFactory,
  steps: int,
  report: Callable[[str], None],
) -> evaluation.Evaluator:
  """The evaluation of a run: its episodes side by side, under the guard.

  A fault in one of its environments costs the block; each has its own time limit.

  Args:
    config: the run.
    policy: whose weights are evaluated, as they are at the time.
    environment_factory: seed to wrapped environment; called for each episode of a block.
    steps: environment steps at this start of the run, which has seeds of its own.
    report: shows a line to a person.
  """
  seed, num_episodes = config.seed + EVALUATION_SEED, config.eval_episodes

  def side_by_side(number):
    seeds = [derive_seed(seed, steps, number, i) for i in range(num_episodes)]
    return evaluation.SideBySide([environment_factory(seed) for seed in seeds])

  signature = tf.TensorSpec([num_episodes, policy.observation_size], tf.float32)
  traced = tf.function(lambda x: policy(x), [signature]).get_concrete_function()
  loop = environment_guard.GuardedLoop(
    environment_guard.GuardedEnvironment(
      side_by_side, num_episodes * config.environment_timeout
    ),
    evaluation.PolicyActor(lambda x: traced(tf.constant(x, tf.float32)).numpy()),
    config.max_environment_faults,
    report,
    should_update=False,
  )
  return evaluation.Evaluator(loop, num_episodes)


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
    report: Callable[[str], None] = lambda line: None,
  ):
    """Initializes the actor.

    Args:
      actor: acts and writes to replay.
      learner: learns.
      min_observations: environment steps before the first learner step.
      updates_per_step: learner steps for each environment step after that.
      report: shows a line to a person.
    """
    self._actor = actor
    self._learner = learner
    self._num_observations = -min_observations
    self._updates_per_step = updates_per_step
    self._num_updates = 0
    self._report = report

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
      if not self._num_updates:
        self._report('learning begins: its step is compiled first')
        with quiet.native_stderr():  # XLA's alarm about it, and Reverb's first sampler's.
          self._learner.step()
      else:
        self._learner.step()
      self._num_updates += 1
    self._actor.update(wait)


def evaluation_due(
  config: config_lib.ExperimentConfig, steps: float, evaluated: float
) -> bool:
  """Whether a block of episodes is due after `steps`, the last being at `evaluated`."""
  if evaluated < 0 or (steps >= config.num_steps and evaluated < steps):
    return True
  return steps // config.eval_every > evaluated // config.eval_every


def derive_seed(seed: int, *parts: int) -> int:
  """A seed of its own for each resumption, replacement, or environment of a block.

  It is `seed` where all parts are 0.
  """
  if not any(parts):
    return seed
  return int(np.random.SeedSequence([seed, *parts]).generate_state(1)[0] >> 1)


def set_up_tensorflow(config: config_lib.ExperimentConfig, seed: int):
  """Threads and the global seed (exploration noise); once a process."""
  tf.config.threading.set_intra_op_parallelism_threads(config.num_threads)
  tf.config.threading.set_inter_op_parallelism_threads(config.num_threads)
  tf.random.set_seed(seed)


def save_policy(
  policy: networks_lib.ActingPolicy, spec: specs.EnvironmentSpec, path: str
):
  """Writes the acting policy as a SavedModel: observation [B, S] to action [B, A].

  The model is complete before it takes the place of an earlier one. A failure, of the
  disk say, is a warning.
  """
  module = tf.Module()
  module.weights = policy.variables  # Not the model: its layers would be traced too.
  signature = tf.TensorSpec([None, *spec.observations.shape], tf.float32, 'observation')
  module.__call__ = tf.function(lambda observation: policy(observation), [signature])
  temporary = f'{path}.tmp'
  shutil.rmtree(temporary, ignore_errors=True)
  try:
    tf.saved_model.save(module, temporary, signatures=module.__call__)
    shutil.rmtree(path, ignore_errors=True)
    os.rename(temporary, path)
  except (OSError, tf.errors.OpError) as e:
    shutil.rmtree(temporary, ignore_errors=True)
    notices.warn(f'the policy was not saved: {str(e).splitlines()[0]}')


def start_counts(counter: counting.Counter):
  """Makes each count present from the first row on, which fixes a CSV file's columns."""
  keys = (
    'actor_steps', 'actor_episodes', 'actor_environment_faults', 'learner_steps',
    'train_seconds',
  )  # fmt: skip
  counter.increment(**dict.fromkeys(keys, 0))
