"""Speed and memory on the walker: `python benchmarks/benchmark.py --part=step`.

What is compared is measured in turn in one process with one thread. Times are CPU time,
medians of several goes, since machines are shared.
"""

import contextlib
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

import acme_dsdpg

acme_dsdpg.set_up()

from absl import flags
import acme
from acme.utils import loggers
from dm_control import suite
from dm_env import specs
import numpy as np
import reverb
import tensorflow as tf

from acme_dsdpg import config as config_lib
from acme_dsdpg import environments
from acme_dsdpg.agent import agents, presets
from acme_dsdpg.running import checkpointing, command_line, environment_guard

ROOT = pathlib.Path(__file__).resolve().parents[1]
WALKER = environments.make_environment('walker')
SPEC = acme.make_environment_spec(WALKER)
PAPER = dict(agent='dsdpg', batch_size=256, num_samples=50, noise_dim=50)
PAPER.update(layer_norm=False, world_model_hidden_sizes=(512, 512, 512))


def in_turn(functions, repeats=7):
  """Returns CPU seconds of functions by name: of the first go, the median of others."""
  times = {name: [] for name in functions}
  for _ in range(1 + repeats):
    for name, function in functions.items():
      start = time.process_time()
      function()
      times[name].append(time.process_time() - start)
  return {k: (v[0], float(np.median(v[1:] or v))) for k, v in times.items()}


def make(spec=SPEC, **overrides):
  """Makes config, builder, networks, and the random batches of a learner's call."""
  config = presets.make_config(overrides)
  builder = agents.make_builder(config.agent, config.dsdpg)
  (table,) = builder.make_replay_tables(spec)
  sizes = config_lib.UPDATES_PER_CALL, config.dsdpg.batch_size
  block = tf.random.normal([*sizes, *table.info.signature.shape])
  return config, builder, builder.make_networks(spec), block


def make_step(spec=SPEC, **overrides):
  """Makes a function that takes the steps of one call of a learner."""
  _, builder, networks, block = make(spec, **overrides)
  blocks = iter(lambda: reverb.ReplaySample(None, block), None)
  return builder.make_learner(spec, networks, blocks).step


def serve(builder, directory, checkpoint=None):
  """Starts a replay server for a run directory; returns it and a client."""
  tables = builder.make_replay_tables(SPEC, limit_rate=False)
  replay = checkpointing.replay_checkpointer(directory, checkpoint, tables)
  server = reverb.Server(tables, checkpointer=replay)
  return server, reverb.Client(f'localhost:{server.port}')


def make_episode(builder, networks, client=None, environment=WALKER):
  """Makes a function that acts an episode, written to replay where there is a client."""
  policy = networks.make_acting_policy()
  adder = client and builder.make_adder(client)
  behavior_policy = builder.make_behavior_policy(SPEC, policy, seed=0)
  actor = builder.make_actor(behavior_policy, policy, adder)
  if isinstance(environment, environment_guard.GuardedEnvironment):
    make_loop = lambda **kwargs: environment_guard.GuardedLoop(
      environment, actor, 5, print, adder=adder, **kwargs
    )
  else:
    make_loop = lambda **kwargs: acme.EnvironmentLoop(
      environment, actor, logger=loggers.NoOpLogger(), **kwargs
    )
  return make_loop(should_update=False).run_episode


def acting(directory):
  """Measures environment steps per CPU-second, without learning."""
  _, builder, networks, _ = make()
  bare, (server, client) = suite.load('walker', 'walk'), serve(builder, directory)

  def run_bare():
    rng, timestep = np.random.default_rng(0), bare.reset()
    while not timestep.last():
      timestep = bare.step(rng.uniform(-1, 1, 6))

  guarded = environment_guard.GuardedEnvironment(lambda number: WALKER, 60.0)
  seconds = in_turn({
    'bare simulator, random actions': run_bare,
    'ours': make_episode(builder, networks),
    'ours, writing to replay': make_episode(builder, networks, client),
    'ours, writing, as in a run': make_episode(builder, networks, client, guarded),
  })  # fmt: skip
  server.stop()
  return {name: 1000 / median for name, (_, median) in seconds.items()}


def step(_):
  """Measures a step of a learner's call, and its compilation, of several agents."""
  learners = {name: dict(agent=name) for name in ('ddpg', 'dsdpg', 'dsdpg_anchored')}
  learners['dsdpg, paper size'] = PAPER
  seconds = in_turn({name: make_step(**values) for name, values in learners.items()})
  keys = ('milliseconds', 'times ddpg', 'seconds to compile')
  of_one = lambda s: 1e3 * s / config_lib.UPDATES_PER_CALL
  figures = lambda first, s: zip(keys, (of_one(s), s / seconds['ddpg'][1], first - s))
  return {name: dict(figures(*value)) for name, value in seconds.items()}


def sizes(_):
  """Measures the default's step by samples M and actions A, as a multiple of `ddpg`'s."""
  result = {}
  for num_actions in (1, 6, 12, 21):
    shape = [num_actions]
    spec = SPEC._replace(actions=specs.BoundedArray(shape, np.float32, -1.0, 1.0))
    functions = {'ddpg': make_step(spec, agent='ddpg')}
    for num_samples in (2, 10, 50, 200):
      functions[f'M = {num_samples}'] = make_step(spec, num_samples=num_samples)
    seconds = {name: median for name, (_, median) in in_turn(functions).items()}
    times = {name: median / seconds['ddpg'] for name, median in seconds.items()}
    result[f'A = {num_actions}'] = times
    tf.keras.backend.clear_session()
  return result


def run(directory):
  """Measures runs of 100,000 steps."""
  agents_flags = {
    f'{presets.DEFAULT_AGENT}, an update every 2 steps': ['--samples_per_insert=32'],
    'ddpg, an update every 8 steps': ['--agent=ddpg', '--samples_per_insert=8'],
  }
  return {
    name: _run(['--num_steps=100000', f'--workdir={directory}/{i}', *flags])
    for i, (name, flags) in enumerate(agents_flags.items())
  }


def start(directory):
  """Measures the time from the command to the first learner steps, with little acting."""
  flags = [f'--workdir={directory}/run', '--samples_per_insert=1', '--eval_episodes=1']
  return _run(['--num_steps=2000', *flags])


def _run(run_flags):
  command = [sys.executable, str(ROOT / 'launchers/run_dsdpg.py'), '--env=walker']
  begin = time.time()
  process = subprocess.Popen(
    [*command, '--num_threads=1', *run_flags], stdout=subprocess.DEVNULL
  )
  ended, peak = 0, 0
  while not ended:
    time.sleep(0.1)
    # Not the usage's own figure, in which this process counts, as it was forked.
    with contextlib.suppress(OSError, TypeError):
      status = pathlib.Path(f'/proc/{process.pid}/status').read_text()
      peak = int(re.search(r'VmHWM:\s*(\d+)', status)[1])
    ended, code, usage = os.wait4(process.pid, os.WNOHANG)
  result = {'exit status': code, 'seconds': time.time() - begin}
  result['CPU seconds'] = usage.ru_utime + usage.ru_stime
  return {**result, 'GiB at most': peak / 2**20}


def checkpoint(directory):
  """Measures a checkpoint of replay: CPU seconds, and its size."""
  config, builder, networks, _ = make(max_replay_size=_TRANSITIONS.value)
  learner = builder.make_learner(SPEC, networks, iter(()))
  server, client = serve(builder, directory)
  write_episode = make_episode(builder, networks, client)
  for _ in range(-(-_TRANSITIONS.value // 1000)):
    write_episode()
  checkpointer = checkpointing.Checkpointer(directory, config, learner.state)
  newest = lambda: checkpointing.newest(directory)
  seconds = in_turn({
    'saving': lambda: (checkpointer.save({}, client), server.stop()),
    'restoring replay': lambda: serve(builder, directory, newest())[0].stop(),
  }, repeats=0)  # fmt: skip
  size = sum(path.stat().st_size for path in pathlib.Path(newest().path).rglob('*'))
  result = {f'{name}, seconds': first for name, (first, _) in seconds.items()}
  return {'transitions': _TRANSITIONS.value, 'MiB': size / 2**20, **result}


PARTS = {part.__name__: part for part in (acting, step, sizes, start, run, checkpoint)}
_PART = flags.DEFINE_multi_enum('part', list(PARTS), list(PARTS), 'What to measure.')
_TRANSITIONS = flags.DEFINE_integer('transitions', 50_000, 'In the checkpoint.', 1)
_OUTPUT = flags.DEFINE_string('output', os.devnull, 'JSON file for the figures.')


def main():
  """Measures the parts, prints as it goes, and writes the figures."""
  output, result = pathlib.Path(command_line.output_path(_OUTPUT)), {}
  tf.config.threading.set_intra_op_parallelism_threads(1)
  tf.config.threading.set_inter_op_parallelism_threads(1)
  rounded = lambda number: float(f'{float(number):.3g}')
  for name in _PART.value:
    with tempfile.TemporaryDirectory() as directory:
      figures = json.dumps(PARTS[name](directory))
    result[name] = json.loads(figures, parse_float=rounded)
    print(name, json.dumps(result[name], indent=2), flush=True)
  output.write_text(json.dumps(result, indent=2) + '\n', encoding='utf-8')


if __name__ == '__main__':
  command_line.run(main)
