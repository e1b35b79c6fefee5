"""A run in one process: acting, learning, evaluation, logs, checkpoints."""

import contextlib
import gc
import time
from typing import Iterator, Optional

from acme import specs
from acme.utils import counting
import reverb

from acme_dsdpg import config as config_lib
from acme_dsdpg import environments, libraries
from acme_dsdpg.agent import acting, agents, learning
from acme_dsdpg.running import (
  checkpointing,
  environment_guard,
  errors,
  evaluation,
  log_files,
  native_stderr,
  notices,
  paths,
  policy_files,
  run_directory,
  seeding,
  signals,
)
from acme_dsdpg.running import loggers as run_loggers

_REPLAY_TIMEOUT = 300  # Seconds until its server, in this process, has answered.


def run(
  config: config_lib.ExperimentConfig,
  workdir: paths.Path,
  environment_factory: environments.EnvironmentFactory,
):
  """Trains to `config.num_steps` in one process, or goes on where it stopped.

  Evaluates before the first step, every `eval_every` steps and at the end. Saves
  learner, counts, replay and policy every `checkpoint_every` seconds, between two
  episodes, and at the end. SIGINT, SIGTERM and SIGHUP save as well. Main thread only.

  Args:
    config: the run.
    workdir: its directory; see `run_directory.prepare`.
    environment_factory: seed to wrapped environment.

  Raises:
    RunFailedError: environment or learner failed too often in a row.
    RunInterruptedError: a signal ended the run, and it was saved.
    ConfigError: the directory holds something else, or another run.
  """
  libraries.keep_off_proxies()
  with run_directory.of_run(workdir, config) as workdir, signals.handled():
    notices.warn_if_too_short(config)
    checkpoint = checkpointing.start_from_newest(workdir, config)
    with notices.alive('starting'):
      this = _Run(config, workdir, environment_factory, checkpoint)
    try:
      this.train()
    except KeyboardInterrupt:
      this.progress.line('interrupted: saving; the same command goes on from here')
      this.end_episode()
      this.save()
      raise errors.RunInterruptedError from None
    except learning.NonFiniteError as e:
      raise errors.failed_learning(e, e.batch, workdir) from e
    except errors.NonFiniteActionError:
      raise  # Not a policy to be saved.
    except errors.RunFailedError:
      this.save()
      raise
    finally:
      this.close()
      del this
      # What is left of TensorFlow and Reverb holds threads and files in cycles.
      gc.collect()


class _Run:
  """The parts of a run in one process."""

  def __init__(
    self,
    config: config_lib.ExperimentConfig,
    workdir: str,
    environment_factory: environments.EnvironmentFactory,
    checkpoint: Optional[checkpointing.Checkpoint],
  ):
    self._config, self._workdir = config, workdir
    steps = int(checkpoint.counts['actor_steps']) if checkpoint is not None else 0
    self.progress = run_loggers.Progress(config.num_steps, steps)
    builder = agents.make_builder(config.agent, config.dsdpg)
    seed = seeding.derive_seed(config.seed, steps)
    seeding.set_up_tensorflow(config, seed)

    environment = environment_guard.GuardedEnvironment(
      lambda number: environment_factory(seeding.derive_seed(config.seed, steps, number)),
      config.limits.environment_timeout,
      config.max_episode_steps,
    )
    self._spec = spec = specs.make_environment_spec(environment)
    networks = builder.make_networks(spec, config.seed)
    self._policy = policy = networks.make_acting_policy()

    self.counter = counting.Counter()
    child = lambda prefix: counting.Counter(self.counter, prefix, time_delta=0.0)
    # One thread acts and learns, and counts by itself.
    tables = builder.make_replay_tables(spec, limit_rate=False)
    with native_stderr.redirected(workdir):
      self._server = reverb.Server(
        tables,
        checkpointer=checkpointing.replay_checkpointer(workdir, checkpoint, tables),
      )
      self._client = reverb.Client(f'localhost:{self._server.port}')
      _check_answers(self._client)
      iterator = builder.make_dataset_iterator(self._client)
    self._learner_logger = run_loggers.make_logger(workdir, 'learner', 'learner_steps')
    learner = builder.make_learner(
      spec,
      networks,
      iterator,
      config.seed,
      child('learner'),
      self._learner_logger,
      config.log_every,
      config.limits.max_skipped_updates,
    )
    self._adder = adder = builder.make_adder(self._client)
    # Both actors take over the learner's own weights, so they are always current.
    explores = builder.make_behavior_policy(spec, policy, seed)
    counts = {} if checkpoint is None else checkpoint.counts
    actor = acting.LearningActor(
      builder.make_actor(explores, policy, adder),
      learner,
      config.dsdpg.updates_per_step,
      config_lib.UPDATES_PER_CALL,
      # The first item is of `n_step` steps.
      steps - max(config.dsdpg.min_replay_size, config.dsdpg.n_step),
      int(counts.get('learner_steps', 0)),
      self._first_call,
    )
    guards = (config.limits.max_environment_faults, self.progress.line)
    self._train_loop = environment_guard.GuardedLoop(
      environment, actor, *guards, child('actor'), adder
    )
    self._evaluator = evaluation.make_evaluator(
      config,
      builder.make_behavior_policy(spec, policy),
      environment_factory,
      steps,
      self.progress.line,
    )
    self._checkpointer = checkpointing.Checkpointer(workdir, config, learner.state)
    if checkpoint is not None:
      self._checkpointer.restore(checkpoint)
      self.counter.restore({'counts': dict(checkpoint.counts), 'cache': {}})
      self.progress.line(f'resuming at step {steps}')
    run_loggers.start_counts(self.counter)
    self._actor_logger = run_loggers.make_logger(workdir, 'actor')
    self._evaluator_logger = run_loggers.make_logger(workdir, 'evaluator')

  def train(self):
    """Trains to the last step."""
    config = self._config
    steps = self.counter.get_counts()['actor_steps']
    evaluated = log_files.last_row(self._workdir, 'evaluator').get('actor_steps', -1)
    if evaluation.is_due(config, steps, evaluated):
      self._evaluate()
    while steps < config.num_steps:
      start, cpu_start = time.time(), time.process_time()
      try:
        row = self._train_loop.run_episode()
      finally:
        seconds = time.time() - start
        self.counter.increment(
          train_seconds=seconds, train_cpu_seconds=time.process_time() - cpu_start
        )
      row.update(self.counter.get_counts())
      self._actor_logger.write(row)
      self.progress.episode(row)
      before, steps = steps, row['actor_steps']
      if evaluation.is_due(config, steps, before):
        self._evaluate()
      since = time.time() - self._checkpointer.last_save
      if steps >= config.num_steps or since + seconds > config.checkpoint_every:
        self.save()

  def end_episode(self):
    """Brings what an episode that was cut has had to replay."""
    self._adder.reset()

  def save(self):
    """Saves everything that the same command needs to go on."""
    with native_stderr.redirected(self._workdir), signals.busy():
      if self._checkpointer.save(self.counter.get_counts(), self._client):
        policy_files.save_policy(self._policy, self._spec, self._workdir)

  def close(self):
    """Closes what writes, serves and simulates."""
    self.progress.close()
    for logger in (self._actor_logger, self._evaluator_logger, self._learner_logger):
      logger.close()
    self.end_episode()  # While the server still takes it.
    with native_stderr.redirected(self._workdir):
      self._server.stop()
    self._train_loop.close()
    self._evaluator.close()

  @contextlib.contextmanager
  def _first_call(self) -> Iterator[None]:
    self.progress.line(
      'learning begins: its step is compiled first, in seconds on an idle machine'
    )
    with native_stderr.redirected(self._workdir):
      with notices.alive('compiling', self.progress.line):
        yield

  def _evaluate(self):
    row = {**self._evaluator.run(), **self.counter.get_counts()}
    self._evaluator_logger.write(row)
    self.progress.evaluation(row)


def _check_answers(client: reverb.Client):
  """Raises RunFailedError where replay does not answer."""
  try:
    client.server_info(_REPLAY_TIMEOUT)
  except (reverb.ReverbError, RuntimeError) as e:
    raise errors.RunFailedError(
      f'Replay, which runs in this process, does not answer at {client.server_address}: '
      f'{notices.reason(e)}'
    ) from e
