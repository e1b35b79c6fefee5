"""Two hours of faults: `python -m tests.running.soak` (`make soak`).

Trains in a distributed program with four actors, kills an actor every minute and the
whole program every ten, and starts it again; each time the promises of the README are
looked at. Writes `soak.csv` (a row every ten seconds) and `soak.json` (the totals).
"""

import csv
import json
import os
import pathlib
import random
import signal
import sys
import time

from absl import flags
import psutil

from acme_dsdpg import config as config_lib
from acme_dsdpg.running import checkpointing, command_line, log_files
from tests.running import runs

_MINUTES = flags.DEFINE_float('minutes', 120.0, 'How long.', 0.5)
_KILL_ACTOR = flags.DEFINE_float('kill_actor_every', 60.0, 'Seconds.', 1.0)
_KILL_ALL = flags.DEFINE_float('kill_all_every', 600.0, 'Seconds.', 1.0)
_WORKDIR = flags.DEFINE_string('workdir', 'runs/soak', 'Run directory; must be new.')
_OUTPUT = flags.DEFINE_string('output', 'results/soak', 'Directory of the report.')
_SAMPLE = 10.0  # Seconds between two rows.
_ORPHANS = 10.0  # Seconds after which no process may be left.
_SAMPLES_PER_INSERT = 0.5
_RUN = (
  '--env=walker', '--agent=ddpg', '--run_distributed', '--num_actors=4',
  '--num_steps=1000000000', '--eval_every=1000000', '--eval_episodes=1',
  '--max_replay_size=100000', f'--samples_per_insert={_SAMPLES_PER_INSERT}',
  '--checkpoint_every=60', '--num_threads=1',
)  # fmt: skip
_TOTALS = (
  'actors_killed', 'actors_replaced', 'programs_killed', 'ended_by_themselves',
  'orphans', 'steps_lost', 'most_steps_lost', 'counts_that_stepped_back',
)  # fmt: skip


class Program:
  """The run's processes, and what its files say."""

  def __init__(self, workdir):
    self.workdir = pathlib.Path(workdir)
    self.start()

  def start(self):
    """The same command, again."""
    launcher = str(runs.ROOT / 'launchers' / 'run_dsdpg.py')
    command = [sys.executable, launcher, *_RUN, f'--workdir={self.workdir}']
    with open(f'{self.workdir}.out', 'ab') as out:
      self.process = psutil.Popen(command, stdout=out, stderr=out)

  def last(self, key):
    """The largest value of a column of the actors' logs, 0 before there is one."""
    paths = self.workdir.glob('logs/actor_*.csv')
    rows = [row for path in paths for row in log_files.read(str(path))]
    return max((int(row[key]) for row in rows), default=0)

  def sample(self):
    """Steps, updates, memory and open files of all processes together."""
    memory = files = processes = 0
    for process in [self.process, *self.process.children(recursive=True)]:
      try:
        memory += process.memory_info().rss
        files += process.num_fds()
        processes += 1
      except psutil.Error:
        continue
    return dict(
      actor_steps=self.last('actor_steps'),
      learner_steps=self.last('learner_steps'),
      gib=round(memory / 2**30, 3),
      open_files=files,
      processes=processes,
    )


def kill_all(program, totals):
  """Kills the launcher, looks at what is left of it, and starts it again."""
  nodes = runs.nodes(program).values()
  before = program.last('actor_steps')
  program.process.send_signal(signal.SIGKILL)
  program.process.wait()
  time.sleep(_ORPHANS)
  totals['orphans'] += len(runs.alive(nodes))
  checkpoint = checkpointing.newest(str(program.workdir))
  resumed = int(checkpoint.counts['actor_steps']) if checkpoint is not None else 0
  totals['programs_killed'] += 1
  totals['steps_lost'] += max(0, before - resumed)
  totals['most_steps_lost'] = max(totals['most_steps_lost'], before - resumed)
  program.start()


def stepped_back(row, before, totals):
  """Whether the steps of one program have become fewer."""
  # A launcher by itself has not dropped yet what came after its checkpoint.
  running = before is not None and before['processes'] > 1
  same = running and before['programs_killed'] == totals['programs_killed']
  return same and row['actor_steps'] < before['actor_steps']


def soak(program, totals, rows):
  """Kills and looks for as long as was asked for; fills in the totals and the rows."""
  rng = random.Random(0)
  start = time.time()
  next_actor, next_all = start + _KILL_ACTOR.value, start + _KILL_ALL.value
  killed = None
  while time.time() < start + 60.0 * _MINUTES.value:
    time.sleep(_SAMPLE)
    if program.process.poll() is not None:
      totals['ended_by_themselves'] += 1
      program.start()
      killed = None
      continue
    row = {'seconds': round(time.time() - start), **program.sample()}
    before = rows[-1] if rows else None
    totals['counts_that_stepped_back'] += stepped_back(row, before, totals)
    rows.append({**row, **totals})
    print('  '.join(f'{k} {v}' for k, v in rows[-1].items()), flush=True)
    nodes = runs.nodes(program)
    if killed and nodes.get(killed[0], killed[1]).pid != killed[1].pid:
      totals['actors_replaced'] += 1
      killed = None
    now = time.time()
    if now > next_all:
      next_all = now + _KILL_ALL.value
      kill_all(program, totals)
      killed = None
    elif now > next_actor:
      next_actor = now + _KILL_ACTOR.value
      actors = sorted(name for name in nodes if name.startswith('actor/'))
      if actors:
        name = rng.choice(actors)
        killed = name, nodes[name]
        nodes[name].kill()
        totals['actors_killed'] += 1


def main():
  """Runs, kills, looks, reports."""
  if os.path.exists(_WORKDIR.value):
    raise config_lib.ConfigError(f'workdir={_WORKDIR.value!r} exists: give a new one.')
  os.makedirs(os.path.dirname(_WORKDIR.value) or '.', exist_ok=True)
  os.makedirs(_OUTPUT.value, exist_ok=True)
  totals, rows = dict.fromkeys(_TOTALS, 0), []
  start = time.time()
  program = Program(_WORKDIR.value)
  soak(program, totals, rows)
  with open(os.path.join(_OUTPUT.value, 'soak.csv'), 'w', encoding='utf-8') as file:
    writer = csv.DictWriter(file, rows[0], lineterminator='\n')
    writer.writeheader()
    writer.writerows(rows)
  program.process.send_signal(signal.SIGINT)
  inserts = rows[-1]['learner_steps'] * config_lib.DSDPGConfig.batch_size
  report = {
    'command': ' '.join(['run_dsdpg.py', *_RUN]),
    'minutes': round((time.time() - start) / 60, 1),
    'exit status after SIGINT': program.process.wait(120),
    **totals,
    **{k: rows[-1][k] for k in ('actor_steps', 'learner_steps')},
    'samples per insert, asked': _SAMPLES_PER_INSERT,
    'samples per insert, held': round(inserts / max(1, rows[-1]['actor_steps']), 3),
  }
  with open(os.path.join(_OUTPUT.value, 'soak.json'), 'w', encoding='utf-8') as file:
    json.dump(report, file, indent=2)
    file.write('\n')
  print(json.dumps(report, indent=2))


if __name__ == '__main__':
  command_line.run(main)
