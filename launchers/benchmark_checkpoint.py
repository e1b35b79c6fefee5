"""A checkpoint of a full replay buffer: its time and size, and those of its restore.

`python launchers/benchmark_checkpoint.py` fills the default agent's replay with a million
walker transitions (one random episode, written again and again), saves, and restores into
a new server.
"""

import json
import os
import platform
import sys
import tempfile
import time

from acme_dsdpg.running import network_isolation, quiet

quiet.silence()
_OPEN = network_isolation.confine() if __name__ == '__main__' else None

from absl import flags
from acme import specs
import numpy as np
import reverb
import tqdm

from acme_dsdpg import config as config_lib
from acme_dsdpg import environments
from acme_dsdpg.agent import d4pg
from acme_dsdpg.running import checkpointing, command_line

_TRANSITIONS = flags.DEFINE_integer('transitions', 1_000_000, 'How many.', 1)
_OUTPUT = flags.DEFINE_string('output', None, 'JSON file for the figures.')


def _record_episode(environment):
  """A random episode: its first timestep, and (action, timestep)s."""
  rng = np.random.default_rng(0)
  spec = environment.action_spec()
  first, steps = environment.reset(), []
  while not steps or not steps[-1][1].last():
    action = rng.uniform(-1.0, 1.0, spec.shape).astype(np.float32)
    steps.append((action, environment.step(action)))
  return first, steps


def _fill(adder, first, steps, total):
  episodes = range(-(-total // len(steps)))
  for _ in tqdm.tqdm(episodes, file=sys.stdout, disable=not sys.stdout.isatty()):
    adder.add_first(first)
    for action, timestep in steps:
      adder.add(action, timestep)


def _timed(function):
  start = time.time()
  result = function()
  return result, round(time.time() - start, 2)


def _size(path):
  return sum(
    os.path.getsize(os.path.join(directory, name))
    for directory, _, names in os.walk(path)
    for name in names
  )


def measure(workdir, num_transitions):
  """Seconds and mebibytes, by name."""
  config = config_lib.make_config(
    {'env': 'walker', 'task': 'walk', 'max_replay_size': num_transitions}
  )
  environment = environments.make_environment('walker', 'walk', 0)
  spec = specs.make_environment_spec(environment)
  builder = d4pg.make_builder(config.agent, config.dsdpg)
  learner = builder.make_learner(spec, builder.make_networks(spec), iter(()))

  def serve(cut):
    tables = builder.make_replay_tables(spec, limit_rate=False)
    checkpointer = checkpointing.replay_checkpointer(workdir, cut, tables)
    with quiet.native_stderr():
      server = reverb.Server(tables, checkpointer=checkpointer)
    client = reverb.Client(f'localhost:{server.port}')
    (info,) = client.server_info().values()
    return server, client, info.current_size

  server, client, _ = serve(None)
  episode = _record_episode(environment)
  _, fill_seconds = _timed(
    lambda: _fill(builder.make_adder(client), *episode, num_transitions)
  )
  (info,) = client.server_info().values()
  checkpointer = checkpointing.Checkpointer(workdir, config, learner.state)
  with quiet.native_stderr():
    saved, save_seconds = _timed(lambda: checkpointer.save({'actor_steps': 0}, client))
    server.stop()
  if not saved:
    sys.exit(1)  # Why has been said.
  cut, check_seconds = _timed(lambda: checkpointing.newest(workdir))
  (server, _, restored), serve_seconds = _timed(lambda: serve(cut))
  _, learner_seconds = _timed(lambda: checkpointer.restore(cut))
  with quiet.native_stderr():
    server.stop()
  return {
    'transitions': info.current_size,
    'transitions restored': restored,
    'filling, seconds': fill_seconds,
    'saving, seconds': save_seconds,
    'size, MiB': round(_size(cut.path) / 2**20, 1),
    'of which replay, MiB': round(_size(os.path.join(cut.path, 'replay')) / 2**20, 1),
    'checking against the manifest, seconds': check_seconds,
    'restoring replay, seconds': serve_seconds,
    'restoring the learner, seconds': learner_seconds,
  }


def main():
  """Measures and prints."""
  output = command_line.output_path(_OUTPUT) if _OUTPUT.value else None
  if _OPEN:
    print(_OPEN, file=sys.stderr, flush=True)
  result = {'machine': f'{platform.machine()}, {os.cpu_count()} cores'}
  with tempfile.TemporaryDirectory() as workdir:
    result.update(measure(workdir, _TRANSITIONS.value))
  for name, value in result.items():
    print(f'{name:40} {value}')
  if output:
    with open(output, 'w', encoding='utf-8') as file:
      json.dump(result, file, indent=2)
      file.write('\n')


if __name__ == '__main__':
  command_line.run(main)
