"""Nodes of a distributed run: learner, actor, evaluator, replay.

`distributed` wires them to a program.
"""

from concurrent import futures
import contextlib
import dataclasses
import functools
import math
import os
import signal
import sys
import threading
import time
from typing import Any, Callable, Iterator, List, Mapping, Optional, Sequence

from acme import specs
from acme.tf import variable_utils
from acme.utils import counting
import courier
import launchpad as lp
import numpy as np
import reverb

from acme_dsdpg import config as config_lib
from acme_dsdpg import environments
from acme_dsdpg.agent import agents, learning
from acme_dsdpg.agent import builder as builder_lib
from acme_dsdpg.running import (
  checkpointing,
  environment_guard,
  errors,
  evaluation,
  log_files,
  notices,
  policy_files,
  processes,
  seeding,
)
from acme_dsdpg.running import loggers as run_loggers


@dataclasses.dataclass(frozen=True)
class Run:
  """The run as every node knows it; picklable."""

  config: config_lib.ExperimentConfig
  workdir: str
  environment_factory: environments.EnvironmentFactory
  environment_spec: specs.EnvironmentSpec
  checkpoint: Optional[checkpointing.Checkpoint] = None

  def set_up(self, seed: int = 0) -> builder_lib.DSDPGBuilder:
    """Sets TensorFlow up and returns the builder; once a process."""
    seeding.set_up_tensorflow(self.config, seed)
    return agents.make_builder(self.config.agent, self.config.dsdpg)


def make_replay_tables(run: Run) -> List[reverb.Table]:
  """Makes the tables that the replay node serves."""
  return run.set_up().make_replay_tables(run.environment_spec)


def make_replay_checkpointer(run: Run) -> reverb.checkpointers.CheckpointerBase:
  """Makes the checkpointer that restores replay and saves it when the learner asks."""
  tables = make_replay_tables(run)
  return checkpointing.replay_checkpointer(run.workdir, run.checkpoint, tables)


def actor_seed(seed: int, index: int, steps: int, number: int = 0) -> int:
  """Derives the seed of an actor's exploration and of its environments.

  Args:
    seed: the run's. Runs whose seeds follow each other share no actor's.
    index: the actor's.
    steps: of all actors, when this one was started.
    number: how many environments it has made before.
  """
  return seeding.derive_seed(seed, steps, number, index)


def run_actor(
  run: Run,
  index: int,
  replay: reverb.Client,
  learner: courier.Client,
  evaluator: courier.Client,
  counter: courier.Client,
):
  """Acts until all actors together have taken `num_steps`."""
  evaluator.wait_until_ready()
  # One that replaces another explores otherwise.
  steps = counter.get_counts()['actor_steps']
  spec = run.environment_spec
  seed = functools.partial(actor_seed, run.config.seed, index, steps)
  builder = run.set_up(seed())
  policy = builder.make_networks(spec, run.config.seed).make_acting_policy()
  adder = builder.make_adder(replay)
  behavior_policy = builder.make_behavior_policy(spec, policy, seed())
  environment = environment_guard.GuardedEnvironment(
    lambda number: run.environment_factory(seed(number)),
    run.config.limits.environment_timeout,
    run.config.max_episode_steps,
  )
  loop = environment_guard.GuardedLoop(
    environment,
    builder.make_actor(behavior_policy, policy, adder, learner),
    run.config.limits.max_environment_faults,
    notices.warn,
    counter=counting.Counter(counter, 'actor', time_delta=0.0),
    adder=adder,
  )
  logger = run_loggers.make_logger(run.workdir, f'actor_{index}')
  processes.before_sigterm(loop.close)
  with contextlib.closing(loop):
    while counter.get_counts()['actor_steps'] < run.config.num_steps:
      # With the counts of its own increment: a checkpoint that counts it keeps its row.
      logger.write(loop.run_episode())
  logger.close()
  lp.wait_for_stop()


class _Finishable:
  """A node that works until another one calls `finish`, which waits for it."""

  def __init__(self):
    self._finishing = threading.Event()
    self._finished = threading.Event()

  def finish(self):
    """Asks `run` to come to its end and returns once it has."""
    self._finishing.set()
    self._finished.wait()

  def run(self):
    """Works; a failure ends the process at once.

    Launchpad would stop the server first, and those that wait for `finish` would fail
    before the process that is the cause.
    """
    try:
      self._work()
    except BaseException:
      processes.die(*sys.exc_info())

  def _work(self):
    raise NotImplementedError


class LearnerNode(_Finishable):
  """Learns until told to finish; saves in between and when the program is stopped.

  Counts and replay are saved and restored with the learner, in the format of the single
  process: either kind of run goes on with the other's checkpoint. The counts are taken
  first, so that replay may hold steps of unfinished episodes, not counted yet.
  """

  def __init__(self, run: Run, replay: reverb.Client, counter: courier.Client):
    super().__init__()
    self._stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: self._stop.set())
    self._counter, self._replay = counter, replay
    self._run = run
    builder = run.set_up(run.config.seed)
    networks = builder.make_networks(run.environment_spec, run.config.seed)
    self._policy = networks.make_acting_policy()
    self._logger = run_loggers.make_logger(run.workdir, 'learner', 'learner_steps')
    self._learner = builder.make_learner(
      run.environment_spec,
      networks,
      _UntilOver(builder.make_dataset_iterator(replay), self._over, self._save_if_due),
      run.config.seed,
      counting.Counter(counter, 'learner', time_delta=0.0),
      self._logger,
      run.config.log_every,
      run.config.limits.max_skipped_updates,
    )
    self._checkpointer = checkpointing.Checkpointer(
      run.workdir, run.config, self._learner.state
    )
    if run.checkpoint is not None:
      self._checkpointer.restore(run.checkpoint)
      counter.restore({'counts': dict(run.checkpoint.counts), 'cache': {}})
    # Of several processes, none of which knows the others'.
    run_loggers.start_counts(counter, train_cpu_seconds=math.nan)

  def get_variables(self, names: Sequence[str]) -> List[List[np.ndarray]]:
    """Returns the learner's variables.

    Nodes that act or evaluate start by this call, which is answered only once the
    checkpoint is restored.
    """
    return self._learner.get_variables(names)

  def _work(self):
    """Learns, then waits for SIGTERM to save."""
    try:
      with contextlib.suppress(StopIteration):
        while not self._over():
          self._learner.step()
          self._save_if_due()
    except learning.NonFiniteError as e:
      raise errors.failed_learning(e, e.batch, self._run.workdir) from e
    self._finished.set()
    self._stop.wait()
    self._save()
    self._logger.close()
    os._exit(0)  # The thread that reads from replay cannot be joined.

  def _over(self) -> bool:
    return self._stop.is_set() or self._finishing.is_set()

  def _save_if_due(self):
    if time.time() - self._checkpointer.last_save > self._run.config.checkpoint_every:
      self._save()

  def _save(self):
    if self._checkpointer.save(self._counter.get_counts(), self._replay):
      policy_files.save_policy(
        self._policy, self._run.environment_spec, self._run.workdir
      )


class _UntilOver:
  """Yields an iterator's elements until `over()`, even while waiting for the next one.

  A read from replay blocks for as long as the rate limiter likes, and no signal
  reaches the thread that does it.
  """

  def __init__(
    self,
    iterator: Iterator[Any],
    over: Callable[[], bool],
    meanwhile: Callable[[], None] = lambda: None,
  ):
    self._iterator = iterator
    self._over = over
    self._meanwhile = meanwhile
    self._executor = futures.ThreadPoolExecutor(max_workers=1)

  def __next__(self) -> Any:
    future = self._executor.submit(next, self._iterator)
    while not self._over():
      with contextlib.suppress(futures.TimeoutError):
        return future.result(timeout=0.2)
      self._meanwhile()
    raise StopIteration


class EvaluatorNode(_Finishable):
  """Evaluates before the first step, each `eval_every` steps, and when told to finish.

  A whole block of episodes runs with the weights pulled before it, and its row is
  tagged with the counts at that time. Also counts the seconds, of wall time: evaluation
  goes on beside training.
  """

  def __init__(self, run: Run, learner: courier.Client, counter: courier.Client):
    super().__init__()
    self._config, self._run_directory = run.config, run.workdir
    builder = run.set_up(run.config.seed)
    policy = builder.make_networks(
      run.environment_spec, run.config.seed
    ).make_acting_policy()
    self._client = variable_utils.VariableClient(learner, {'policy': policy.variables})
    self._logger = run_loggers.make_logger(run.workdir, 'evaluator')
    self._counter = counter
    self._client.update_and_wait()
    self._time = time.time()
    self._start = self._count()
    steps = int(self._start['actor_steps'])
    self._evaluator = evaluation.make_evaluator(
      run.config,
      builder.make_behavior_policy(run.environment_spec, policy),
      run.environment_factory,
      steps,
      notices.warn,
    )
    processes.before_sigterm(self._evaluator.close)

  def wait_until_ready(self):
    """Returns once the first weights are here: actors wait for it to act."""

  def _work(self):
    """Evaluates when due, then waits for the end of the program."""
    last = log_files.last_row(self._run_directory, 'evaluator')
    if not last:
      last = self._start
      self._evaluate(last)
    while not self._finishing.wait(timeout=1.0):
      counts = self._count()
      if self._due(counts['actor_steps'], last['actor_steps']):
        last = self._pull_and_evaluate()
    keys = ('actor_steps', 'learner_steps')
    if any(self._count()[key] != last[key] for key in keys):
      self._pull_and_evaluate()
    self._evaluator.close()
    self._logger.close()
    self._finished.set()
    lp.wait_for_stop()

  def _due(self, steps: int, last: int) -> bool:
    # The last block is left to the time when the learner has finished.
    every = self._config.eval_every
    return steps // every > last // every and steps < self._config.num_steps

  def _pull_and_evaluate(self) -> Mapping[str, Any]:
    self._client.update_and_wait()
    counts = self._count()
    self._evaluate(counts)
    return counts

  def _evaluate(self, counts: Mapping[str, Any]):
    self._logger.write({**self._evaluator.run(), **counts})

  def _count(self) -> Mapping[str, Any]:
    before, self._time = self._time, time.time()
    return self._counter.increment(train_seconds=self._time - before)
