"""Speed and memory: acting, the Sobolev target, a whole run (`make bench`).

Everything compared is measured in turn in one process, several times; medians and
CPU time are printed, since machines are shared.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time

from acme_dsdpg.running import network_isolation, quiet

quiet.silence()
_OPEN = network_isolation.confine() if __name__ == '__main__' else None

from absl import flags
import acme
from acme import specs
from acme.agents.tf.d4pg import agent as d4pg_agent
from acme.agents.tf.d4pg import networks as d4pg_networks
from acme.utils import loggers
from dm_control import suite
import numpy as np
import psutil
import reverb
import tensorflow as tf

from acme_dsdpg import config as config_lib
from acme_dsdpg import environments
from acme_dsdpg import networks as networks_lib
from acme_dsdpg.agent import adders as agent_adders
from acme_dsdpg.agent import builder as builder_lib
from acme_dsdpg.losses import sobolev
from acme_dsdpg.running import command_line, environment_guard

_PART = flags.DEFINE_multi_enum(
  'part', ['acting', 'target', 'run'], ['acting', 'target', 'run'], 'What to measure.'
)
_REPEATS = flags.DEFINE_integer('repeats', 7, 'Measurements of each, taken in turn.', 1)
_OUTPUT = flags.DEFINE_string('output', None, 'JSON file for the figures.')


def in_turn(functions, repeats):
  """Median CPU seconds of each function by name, measured in turn, after one go."""
  times = {name: [] for name in functions}
  for i in range(repeats + 1):
    for name, function in functions.items():
      start = time.process_time()
      function()
      if i:
        times[name].append(time.process_time() - start)
  return {name: statistics.median(values) for name, values in times.items()}


def bench_acting(repeats):
  """Walker, one process: episodes acted and written to replay, without learning."""
  environment = environments.make_environment('walker')
  spec = specs.make_environment_spec(environment)
  bare = suite.load('walker', 'walk')
  rng = np.random.default_rng(0)

  def run_bare():
    timestep = bare.reset()
    while not timestep.last():
      timestep = bare.step(rng.uniform(-1, 1, 6))

  def loop(actor):
    return acme.EnvironmentLoop(
      environment, actor, logger=loggers.NoOpLogger(), should_update=False
    ).run_episode

  ours = builder_lib.DSDPGBuilder(config_lib.make_config({}).dsdpg)
  policy = ours.make_networks(spec).make_acting_policy()
  behavior_policy = ours.make_behavior_policy(spec, policy)
  servers = [reverb.Server(ours.make_replay_tables(spec, limit_rate=False))]
  client = reverb.Client(f'localhost:{servers[0].port}')
  ours_adder = agent_adders.ReplaceableAdder(lambda: ours.make_adder(client))

  stock = d4pg_agent.D4PGBuilder(d4pg_agent.D4PGConfig(samples_per_insert=None))
  nets = d4pg_networks.make_default_networks(spec.actions)
  stock_nets = d4pg_agent.D4PGNetworks(
    nets['policy'], nets['critic'], nets['observation']
  )
  stock_nets.init(spec)
  stock_policy = stock_nets.make_policy(spec, sigma=0.3)
  servers.append(reverb.Server(stock.make_replay_tables(spec)))
  stock_adder = stock.make_adder(reverb.Client(f'localhost:{servers[1].port}'))

  guarded = environment_guard.GuardedLoop(
    environment_guard.GuardedEnvironment(lambda number: environment, timeout=60.0),
    ours.make_actor(behavior_policy, policy, ours_adder),
    5,
    print,
    adder=ours_adder,
    should_update=False,
  )

  functions = {
    'simulator, random actions': run_bare,
    'ours': loop(ours.make_actor(behavior_policy, policy)),
    'ours, writing': loop(ours.make_actor(behavior_policy, policy, ours_adder)),
    'ours, writing, guarded': guarded.run_episode,  # As in a run.
    "Acme's D4PG": loop(stock.make_actor(stock_policy)),
    "Acme's D4PG, writing": loop(stock.make_actor(stock_policy, stock_adder)),
  }
  rates = {k: 1000 / v for k, v in in_turn(functions, repeats).items()}
  print('\nActing on walker-walk, environment steps per CPU-second')
  for name, rate in rates.items():
    print(f'  {name:30} {rate:8.0f}')
  return rates


def bench_target(repeats):
  """The factored target against M copies of everything, at the paper's size."""
  batch_size, num_samples, state_size, action_size = 256, 50, 24, 6
  config = config_lib.make_config(
    dict(agent='dsdpg', num_samples=num_samples, noise_dim=50, layer_norm=False)
  ).dsdpg
  spec = specs.EnvironmentSpec(
    observations=specs.Array((state_size,), np.float32),
    actions=specs.BoundedArray((action_size,), np.float32, -1.0, 1.0),
    rewards=specs.Array((), np.float32),
    discounts=specs.BoundedArray((), np.float32, 0.0, 1.0),
  )
  nets = networks_lib.make_networks(spec, config)
  normal = lambda *shape: tf.random.normal(shape, seed=1)
  observation, action = normal(batch_size, state_size), normal(batch_size, action_size)
  latent = normal(batch_size, state_size + 1)
  noise = normal(batch_size, num_samples, config.noise_dim)
  discount = tf.fill([batch_size], 0.95)

  def make(target, latent):
    model = lambda s, a: nets.world_model.decode(s, a, latent)
    return tf.function(
      lambda: target(
        model, nets.policy, nets.critic, observation, action, discount, noise, 'action'
      ),
      jit_compile=True,
      autograph=False,
    )

  factored = make(sobolev.sobolev_target, latent)
  plain = make(sobolev.plain_sobolev_target, sobolev.repeat_rows(latent, num_samples))
  seconds = in_turn({'plain': plain, 'factored': factored}, repeats)
  seconds['ratio'] = seconds['factored'] / seconds['plain']
  print('\nSobolev target, S 24, A 6, batch 256, M 50')
  print(f'  plain    {1000 * seconds["plain"]:8.0f} ms CPU')
  print(f'  factored {1000 * seconds["factored"]:8.0f} ms CPU')
  print(f'  ratio    {seconds["ratio"]:8.2f}')
  return seconds


def _has_rows(path):
  try:
    with open(path, encoding='utf-8') as file:
      return len(file.readlines()) > 1
  except FileNotFoundError:
    return False


def bench_run():
  """20,000 steps of walker: peak memory, and seconds to the first evaluation's end."""
  with tempfile.TemporaryDirectory() as workdir:
    command = [
      sys.executable,
      os.path.join(os.path.dirname(os.path.abspath(__file__)), 'run_dsdpg.py'),
      '--env=walker',
      '--num_steps=20000',
      f'--workdir={workdir}/run',
    ]
    start = time.time()
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    process = psutil.Process(run.pid)
    peak, first = 0, None
    while run.poll() is None:
      try:
        peak = max(peak, process.memory_info().rss)
      except psutil.NoSuchProcess:
        break
      # The first row comes a block of episodes after the first step.
      if first is None and _has_rows(f'{workdir}/run/logs/evaluator.csv'):
        first = time.time() - start
      time.sleep(0.2)
    result = {
      'seconds': time.time() - start,
      'seconds to the first evaluation': first,
      'peak GiB': peak / 2**30,
      'exit status': run.wait(),
    }
  print('\nWalker, 20,000 steps in one process')
  for name, value in result.items():
    print(f'  {name:24} {value:8.2f}')
  return result


def main():
  """Measures the chosen parts."""
  output = command_line.output_path(_OUTPUT) if _OUTPUT.value else None
  if _OPEN:
    print(_OPEN, file=sys.stderr, flush=True)
  result = {
    'machine': f'{platform.machine()}, {os.cpu_count()} cores',
    'tensorflow': tf.__version__,
  }
  if 'acting' in _PART.value:
    result['acting'] = bench_acting(_REPEATS.value)
  if 'target' in _PART.value:
    result['target'] = bench_target(_REPEATS.value)
  if 'run' in _PART.value:
    result['run'] = bench_run()
  if output:
    with open(output, 'w', encoding='utf-8') as file:
      json.dump(result, file, indent=2)


if __name__ == '__main__':
  command_line.run(main)
