"""The sweep launcher: real runs, tiny."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import psutil
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
TINY = dict(
  hidden_sizes=[8, 8], batch_size=8, min_replay_size=200, samples_per_insert=1.0,
  jit_compile=False, eval_every=1000, eval_episodes=1, num_steps=1000,
)  # fmt: skip


def _start(*arguments):
  environment = {k: v for k, v in os.environ.items() if k != 'TF_CPP_MIN_LOG_LEVEL'}
  return subprocess.Popen(
    [sys.executable, str(ROOT / 'launchers/sweep.py'), *map(str, arguments)],
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    env={**environment, 'PYTHONPATH': str(ROOT)},
  )


def _run(*arguments):
  process = _start(*arguments)
  out, err = process.communicate(timeout=300)
  return process.returncode, out, err


def _write(path, *blocks):
  path.write_text(json.dumps(blocks), encoding='utf-8')
  return path


def test_runs_all_then_skips_what_is_complete_and_names_what_failed(tmp_path):
  agents = {'ddpg': {}, 'quiet': {'agent': 'ddpg', 'sigma': 0.0}}
  block = dict(agents=agents, tasks=['pendulum-swingup'], seeds=[3], overrides=TINY)
  sweep, output = _write(tmp_path / 's.json', block), tmp_path / 'runs'
  status, out, err = _run(sweep, f'--output={output}')
  assert status == 0, out + err
  assert '2 runs: 2 complete, 0 running, 0 failed' in out.splitlines()[-1]
  configs = {
    name: json.loads(
      (output / f'pendulum-swingup/{name}-seed3/config.json').read_text('utf-8')
    )
    for name in agents
  }
  assert configs['ddpg']['dsdpg']['sigma'] == 0.3
  assert configs['quiet']['dsdpg']['sigma'] == 0.0
  assert configs['quiet']['dsdpg']['hidden_sizes'] == [8, 8]
  assert configs['quiet']['seed'] == 3

  # Again: nothing to do. With another seed: that one alone runs.
  logs = output / 'pendulum-swingup/ddpg-seed3/logs/actor.csv'
  before = logs.read_text('utf-8')
  assert _run(sweep, f'--output={output}')[0] == 0
  assert logs.read_text('utf-8') == before
  # A directory of something else is refused by the run, and the sweep says so.
  blocked = output / 'pendulum-swingup/ddpg-seed4'
  blocked.mkdir()
  (blocked / 'something').write_text('else', encoding='utf-8')
  _write(sweep, {**block, 'agents': {'ddpg': {}}, 'seeds': [3, 4]})
  status, out, _ = _run(sweep, f'--output={output}')
  assert status == 1
  assert 'failed with status 2' in out
  assert '2 runs: 1 complete, 0 running, 1 failed' in out
  assert 'not a run directory' in pathlib.Path(f'{blocked}.out').read_text('utf-8')


def test_interrupted_it_stops_its_runs_which_go_on_later(tmp_path):
  block = dict(agents={'ddpg': {}}, tasks=['pendulum-swingup'], seeds=[0])
  overrides = {**TINY, 'num_steps': 1_000_000}
  sweep = _write(tmp_path / 's.json', {**block, 'overrides': overrides})
  process = _start(sweep, f'--output={tmp_path}')
  actor = tmp_path / 'pendulum-swingup/ddpg-seed0/logs/actor.csv'
  deadline = time.time() + 120
  while not (actor.exists() and len(actor.read_text('utf-8').splitlines()) > 1):
    assert time.time() < deadline
    time.sleep(0.2)
  children = psutil.Process(process.pid).children(recursive=True)
  assert children
  process.send_signal(signal.SIGINT)
  out, _ = process.communicate(timeout=60)
  assert process.returncode == 130
  assert 'the same command goes on from here' in out
  assert not psutil.wait_procs(children, timeout=10)[1]
  printed = tmp_path / 'pendulum-swingup/ddpg-seed0.out'
  assert 'interrupted' in printed.read_text('utf-8')
  _write(sweep, {**block, 'overrides': {**overrides, 'num_steps': 5000}})
  assert _run(sweep, f'--output={tmp_path}')[0] == 0
  assert 'resuming at step' in printed.read_text('utf-8')
  # Another config is not what has run.
  _write(sweep, {**block, 'overrides': {**overrides, 'sigma': 0.1}})
  status, _, err = _run(sweep, f'--output={tmp_path}')
  assert status == 2
  assert 'sigma was 0.3, is 0.1' in err


def test_a_dry_run_only_says_where_things_stand(tmp_path):
  block = dict(
    agents={'dsdpg': {}, 'd4pg': {}}, tasks=['walker', 'reacher'], seeds=[0, 1]
  )
  status, out, _ = _run(
    _write(tmp_path / 's.json', block), '--dry_run', f'--output={tmp_path}'
  )
  assert status == 0
  assert out.count('waiting') == 8
  assert 'walker-walk dsdpg seed 1' in out
  assert 'reacher-easy d4pg seed 0' in out


@pytest.mark.parametrize(
  ('blocks', 'message'),
  [
    ({}, 'must hold a list of blocks'),
    ([{'agents': {'ddpg': {}}}], "missing: ['seeds', 'tasks']"),
    ([{'agents': {}, 'tasks': [], 'seeds': [], 'seed': 1}], "unknown: ['seed']"),
    ([{'agents': {'ddgp': {}}, 'tasks': ['walker'], 'seeds': [0]}], 'Did you mean ddpg'),
    ([{'agents': {'ddpg': {}}, 'tasks': ['walkr'], 'seeds': [0]}], 'Did you mean walker'),
    (
      [{'agents': {'ddpg': {'sgima': 1}}, 'tasks': ['walker'], 'seeds': [0]}],
      'Did you mean sigma',
    ),
    ([{'agents': {'ddpg': {}}, 'tasks': ['walker'], 'seeds': [0, 0]}], 'twice'),
    (
      [{'agents': {'ddpg': {}}, 'tasks': ['walker'], 'seeds': []}],
      'is empty: nothing would run',
    ),
    ([{'agents': ['ddpg'], 'tasks': ['walker'], 'seeds': [0]}], 'must be a dictionary'),
    ([{'agents': {'ddpg': None}, 'tasks': ['walker'], 'seeds': [0]}], 'of fields'),
    ([{'agents': {'ddpg': {}}, 'tasks': 'walker', 'seeds': [0]}], 'must be a list'),
    ([{'agents': {'ddpg': {}}, 'tasks': [1], 'seeds': [0]}], 'must be a name'),
    (
      [{'agents': {'ours': {'agent': {}}}, 'tasks': ['walker'], 'seeds': [0]}],
      'agent={} is not valid',
    ),
    ([{'agents': {'../a': {}}, 'tasks': ['walker'], 'seeds': [0]}], 'must be named'),
    (
      [{'agents': {'ddpg': {'seed': 1}}, 'tasks': ['walker'], 'seeds': [0]}],
      "'seed' among the fields of agent 'ddpg'",
    ),
    (
      [
        {
          'agents': {'ddpg': {}},
          'tasks': ['walker'],
          'seeds': [0],
          'overrides': {'task': 'run'},
        }
      ],
      "'task' among the fields of overrides",
    ),
  ],
)
def test_a_bad_sweep_is_a_sentence_before_anything_starts(tmp_path, blocks, message):
  path = tmp_path / 's.json'
  path.write_text(json.dumps(blocks), encoding='utf-8')
  status, out, err = _run(path, f'--output={tmp_path / "runs"}')
  assert status == 2
  assert message in err
  assert 'Traceback' not in err
  assert not out
  assert not (tmp_path / 'runs').exists()


def test_an_output_that_is_a_file_is_a_sentence(tmp_path):
  block = dict(agents={'ddpg': {}}, tasks=['walker'], seeds=[0])
  sweep = _write(tmp_path / 's.json', block)
  for output in (sweep, sweep / 'runs'):
    status, out, err = _run(sweep, f'--output={output}')
    assert status == 2
    assert 'cannot be a directory' in err
    assert 'Traceback' not in err
    assert not out


def test_a_damaged_log_is_no_progress_and_no_traceback(tmp_path):
  path = tmp_path / 's.json'
  block = dict(agents={'ddpg': {}}, tasks=['walker'], seeds=[0])
  _write(path, block)
  logs = tmp_path / 'runs/walker-walk/ddpg-seed0/logs'
  logs.mkdir(parents=True)
  for damaged in ('\0\0\0', '100000,', ''):
    (logs / 'evaluator.csv').write_text(f'actor_steps,episode_return\n{damaged}')
    status, out, err = _run(path, f'--output={tmp_path / "runs"}', '--dry_run')
    assert status == 0, err
    assert 'waiting' in out
