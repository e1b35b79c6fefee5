"""Speed and memory: `python benchmarks/benchmark.py --part=step` (`make bench`).

What is compared is measured in turn in one process, TensorFlow with one thread; times are
medians of CPU time, since machines are shared.
"""

import itertools
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import types

import acme_dsdpg
from acme_dsdpg.running import network_isolation

acme_dsdpg.set_up()
_OPEN = network_isolation.confine() if __name__ == '__main__' else None

from absl import flags
import acme
from acme import specs
from acme.utils import loggers
from dm_control import suite
import numpy as np
import reverb
import tensorflow as tf

from acme_dsdpg import environments
from acme_dsdpg.agent import adders, agents, presets
from acme_dsdpg.losses import sobolev
from acme_dsdpg.running import checkpointing, command_line, environment_guard
from acme_dsdpg.running import native_stderr

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAPER = dict(
  agent='dsdpg', batch_size=256, num_samples=50, noise_dim=50, layer_norm=False,
  world_model_hidden_sizes=(512, 512, 512),
)  # fmt: skip
LEARNERS = {name: dict(agent=name) for name in ('ddpg', 'dsdpg', 'dsdpg_anchored')}
LEARNERS['dsdpg, paper size'] = PAPER
REPEATS = 7


def timed(function):
  """Returns the CPU seconds that a function takes."""
  start = time.process_time()
  function()
  return time.process_time() - start


def in_turn(functions):
  """Returns the median CPU seconds of each function by name, after one go of each."""
  rounds = [{k: timed(f) for k, f in functions.items()} for _ in range(REPEATS + 1)]
  return {k: statistics.median(times[k] for times in rounds[1:]) for k in functions}


def make(**overrides):
  """Makes config, spec, builder and networks of an agent for the walker."""
  config = presets.make_config(overrides)
  spec = specs.make_environment_spec(environments.make_environment('walker'))
  builder = agents.make_builder(config.agent, config.dsdpg)
  return config, spec, builder, builder.make_networks(spec)


def draw_transitions(spec, config):
  """Draws a batch of transitions, observations normal and actions in bounds."""
  rng = np.random.default_rng(0)
  shape = lambda of: [config.dsdpg.batch_size, *of.shape]
  normal = lambda of: tf.constant(rng.normal(size=shape(of)), tf.float32)
  outcome = lambda: adders.Outcome(
    normal(spec.rewards), tf.ones(shape(spec.discounts)), normal(spec.observations)
  )
  extras = outcome() if config.dsdpg.one_step_model else ()
  of = normal(spec.observations), tf.tanh(normal(spec.actions))
  return acme.types.Transition(*of, *outcome(), extras=extras)


def acting():
  """Environment steps of the walker per CPU-second, without learning."""
  _, spec, builder, networks = make()
  environment, bare = environments.make_environment('walker'), suite.load('walker', 'walk')

  def run_bare():
    timestep, rng = bare.reset(), np.random.default_rng(0)
    while not timestep.last():
      timestep = bare.step(rng.uniform(-1, 1, 6))

  policy = networks.make_acting_policy()
  behaviour = builder.make_behavior_policy(spec, policy)
  server = reverb.Server(builder.make_replay_tables(spec, limit_rate=False))
  client = reverb.Client(f'localhost:{server.port}')
  adder = adders.ReplaceableAdder(lambda: builder.make_adder(client))
  actor, writing = (builder.make_actor(behaviour, policy, to) for to in (None, adder))
  loop = lambda of: acme.EnvironmentLoop(environment, of, logger=loggers.NoOpLogger())
  guarded = environment_guard.GuardedEnvironment(lambda number: environment, 60.0)
  as_in_a_run = environment_guard.GuardedLoop(guarded, writing, 5, print, adder=adder)
  functions = {
    'simulator, random actions': run_bare,
    'ours': loop(actor).run_episode,
    'ours, writing to replay': loop(writing).run_episode,
    'ours, writing, guarded as in a run': as_in_a_run.run_episode,
  }
  return {name: round(1000 / s) for name, s in in_turn(functions).items()}


def step():
  """The learner's step and its compilation on the walker, CPU time."""
  functions, first = {}, {}
  for name, overrides in LEARNERS.items():
    config, spec, builder, networks = make(**overrides)
    sample = types.SimpleNamespace(data=draw_transitions(spec, config))
    learner = builder.make_learner(spec, networks, itertools.repeat(sample))
    functions[name], first[name] = learner.step, timed(learner.step)
  return {
    name: {
      'ms': round(1e3 * seconds, 1),
      'compiling, s': round(first[name] - seconds, 1),
    }
    for name, seconds in in_turn(functions).items()
  }


def target():
  """The factored Sobolev target and Algorithm 1 to the letter, paper size, CPU ms."""
  sys.path.append(str(ROOT))
  from tests.reference import algorithm1

  config, spec, _, networks = make(**PAPER)
  batch, model, critic = draw_transitions(spec, config), networks.world_model, networks.critic
  size, num_samples = config.dsdpg.batch_size, config.dsdpg.num_samples
  latent = tf.random.normal([size, model.latent_size])
  noise = tf.random.normal([size, num_samples, config.dsdpg.noise_dim])

  def compiled(target, critic, latent):
    arguments = (batch.observation, batch.action, batch.discount, noise)
    decode = lambda s, a: model.decode(s, a, latent)
    function = lambda: target(decode, networks.policy, critic, *arguments, wrt='action')
    return tf.function(function, jit_compile=True, autograph=False)

  copies = tf.repeat(latent, num_samples, axis=0)
  functions = {
    'factored': compiled(sobolev.sobolev_target, critic, latent),
    'to the letter': compiled(algorithm1.sobolev_target, [critic.__call__], copies),
  }
  np.testing.assert_allclose(*(f() for f in functions.values()), rtol=1e-2, atol=1e-3)
  return {name: round(1e3 * s, 1) for name, s in in_turn(functions).items()}


def run():
  """A run of 20,000 steps of the walker with the default agent, one thread."""
  with tempfile.TemporaryDirectory() as workdir:
    command = [sys.executable, str(ROOT / 'launchers/run_dsdpg.py'), '--env=walker']
    command += ['--num_steps=20000', '--num_threads=1', f'--workdir={workdir}/run']
    start, first = time.time(), None
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
      if first is None and line.startswith('evaluation'):
        first = time.time() - start
    _, status, usage = os.wait4(process.pid, 0)
  return {
    'seconds': round(time.time() - start),
    'CPU seconds': round(usage.ru_utime + usage.ru_stime),
    'seconds to the first evaluation': round(first, 1),
    'peak GiB': round(usage.ru_maxrss / 2**20, 2),
    'exit status': os.waitstatus_to_exitcode(status),
  }


def checkpoint():
  """A checkpoint of the walker's transitions: seconds and MiB."""
  num_transitions = _TRANSITIONS.value
  config, spec, builder, networks = make(max_replay_size=num_transitions)
  environment, rng = environments.make_environment('walker'), np.random.default_rng(0)
  learner = builder.make_learner(spec, networks, iter(()))
  with tempfile.TemporaryDirectory() as workdir:

    def serve(of):
      tables = builder.make_replay_tables(spec, limit_rate=False)
      replay = checkpointing.replay_checkpointer(workdir, of, tables)
      server = reverb.Server(tables, checkpointer=replay)
      return server, reverb.Client(f'localhost:{server.port}')

    server, client = serve(None)
    adder = builder.make_adder(client)
    first, steps = environment.reset(), []
    while not steps or not steps[-1][1].last():
      action = rng.uniform(-1, 1, 6).astype(np.float32)
      steps.append((action, environment.step(action)))
    for _ in range(-(-num_transitions // len(steps))):
      adder.add_first(first)
      for taken in steps:
        adder.add(*taken)
    checkpointer = checkpointing.Checkpointer(workdir, config, learner.state)
    start = time.time()
    checkpointer.save({'actor_steps': 0}, client)
    saved = time.time()
    server.stop()
    newest = checkpointing.newest(workdir)
    size = sum(path.stat().st_size for path in pathlib.Path(newest.path).rglob('*'))
    between = time.time()
    server, client = serve(newest)
    (table,) = client.server_info().values()
    checkpointer.restore(newest)
    restored = time.time()
    server.stop()
  return {
    'transitions': table.current_size,
    'MiB': round(size / 2**20, 1),
    'saving, s': round(saved - start, 1),
    'restoring, s': round(restored - between, 1),
  }


PARTS = {part.__name__: part for part in (acting, step, target, run, checkpoint)}
_PART = flags.DEFINE_multi_enum('part', list(PARTS), list(PARTS), 'What to measure.')
_TRANSITIONS = flags.DEFINE_integer('transitions', 100_000, 'In the checkpoint.', 1)
_OUTPUT = flags.DEFINE_string('output', None, 'JSON file for the figures.')


def main():
  """Measures the chosen parts, and prints as it goes."""
  output = command_line.output_path(_OUTPUT) if _OUTPUT.value else None
  if _OPEN:
    print(_OPEN, file=sys.stderr, flush=True)
  tf.config.threading.set_intra_op_parallelism_threads(1)
  tf.config.threading.set_inter_op_parallelism_threads(1)
  machine = f'{platform.machine()}, {os.cpu_count()} cores'
  result = {'machine': machine, 'TensorFlow': tf.__version__}
  for name in _PART.value:
    with tempfile.TemporaryDirectory() as log, native_stderr.redirected(log):
      result[name] = PARTS[name]()
    print(json.dumps({name: result[name]}, indent=2), flush=True)
  if output:
    pathlib.Path(output).write_text(json.dumps(result, indent=2) + '\n', encoding='utf-8')


if __name__ == '__main__':
  command_line.run(main)
