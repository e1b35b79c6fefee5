"""Sweeps: read and checked in this process, worked off by programs, and really run."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import psutil
import pytest

from acme_dsdpg import config as config_lib
from acme_dsdpg.analysis import sweeps
from acme_dsdpg.running import errors, log_files

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Learning does not begin: to compile it would take most of the time.
TINY = dict(
  hidden_sizes=[8, 8], min_replay_size=100_000, eval_every=100_000, eval_episodes=1,
  num_steps=1000,
)  # fmt: skip
PATIENCE = 300.0  # Seconds, for what takes an idle machine less than a tenth of it.


def _write(path, *blocks):
  path.write_text(json.dumps(blocks), encoding='utf-8')
  return str(path)


def _block(**changes):
  return {'agents': {'ddpg': {}}, 'tasks': ['walker'], 'seeds': [0], **changes}


# Reading.


@pytest.mark.parametrize('path', sorted(ROOT.glob('configs/sweeps/*.json')), ids=str)
def test_the_sweeps_of_the_project_can_be_run(path, tmp_path):
  assert sweeps.read_sweep(str(path), str(tmp_path))


def test_a_sweep_is_agents_times_tasks_times_seeds(tmp_path):
  agents = {'dsdpg': {}, 'quiet': {'agent': 'ddpg', 'sigma': 0.0}}
  block = dict(agents=agents, tasks=['walker', 'reacher'], seeds=[0, 1], overrides=TINY)
  path = _write(tmp_path / 's.json', block, _block(tasks=['cheetah-run']))
  runs = {run.workdir: run for run in sweeps.read_sweep(path, 'runs')}
  runs = {os.path.relpath(workdir): run for workdir, run in runs.items()}
  assert len(runs) == 9
  run = runs['runs/walker-walk/quiet-seed1']
  assert run.config.agent == 'ddpg'
  assert run.config.seed == 1
  assert run.config.num_threads == 1
  assert run.config.dsdpg.sigma == 0.0
  assert run.config.dsdpg.hidden_sizes == (8, 8)
  assert {'--sigma=0.0', '--hidden_sizes=8,8', '--task=walk', '--seed=1'} < set(run.flags)
  assert runs['runs/reacher-easy/dsdpg-seed0'].config.dsdpg.sigma > 0.0
  assert runs['runs/cheetah-run/ddpg-seed0'].config.num_steps > 1000


@pytest.mark.parametrize(
  ('blocks', 'message'),
  [
    ({}, 'must hold a list of blocks'),
    ([{'agents': {'ddpg': {}}}], "missing: ['seeds', 'tasks']"),
    ([{'agents': {}, 'tasks': [], 'seeds': [], 'seed': 1}], "unknown: ['seed']"),
    ([_block(agents={'ddgp': {}})], 'Did you mean ddpg'),
    ([_block(tasks=['walkr'])], 'Did you mean walker'),
    ([_block(agents={'ddpg': {'sgima': 1}})], 'Did you mean sigma'),
    ([_block(seeds=[0, 0])], 'twice'),
    ([_block(seeds=[])], 'is empty: nothing would run'),
    ([_block(agents=['ddpg'])], 'must be a dictionary'),
    ([_block(agents={'ddpg': None})], 'of fields'),
    ([_block(tasks='walker')], 'must be a list'),
    ([_block(tasks=[1])], 'must be a name'),
    ([_block(agents={'ours': {'agent': {}}})], 'agent={} is not valid'),
    ([_block(agents={'../a': {}})], 'must be named'),
    ([_block(agents={'lr=[1]': {'agent': 'ddpg'}})], 'TensorFlow reads as patterns'),
    ([_block(agents={'ddpg': {'seed': 1}})], "'seed' among the fields of agent 'ddpg'"),
    ([_block(overrides={'task': 'run'})], "'task' among the fields of overrides"),
  ],
)
def test_a_bad_sweep_is_a_sentence_before_anything_starts(tmp_path, blocks, message):
  path = tmp_path / 's.json'
  path.write_text(json.dumps(blocks), encoding='utf-8')
  with pytest.raises(config_lib.ConfigError) as error:
    sweeps.read_sweep(str(path), str(tmp_path / 'runs'))
  assert message in str(error.value)
  assert not (tmp_path / 'runs').exists()


def test_a_file_that_is_no_sweep_is_a_sentence(tmp_path):
  path = tmp_path / 's.json'
  with pytest.raises(config_lib.ConfigError, match='cannot be read'):
    sweeps.read_sweep(str(path), 'runs')
  path.write_text('[{', encoding='utf-8')
  with pytest.raises(config_lib.ConfigError, match='is no JSON'):
    sweeps.read_sweep(str(path), 'runs')


def test_a_run_with_another_config_is_refused(tmp_path):
  path = _write(tmp_path / 's.json', _block())
  (run,) = sweeps.read_sweep(path, str(tmp_path))
  os.makedirs(run.workdir)
  pathlib.Path(run.workdir, 'config.json').write_text(run.config.to_json())
  assert len(sweeps.read_sweep(path, str(tmp_path))) == 1
  _write(tmp_path / 's.json', _block(overrides={'sigma': 0.1}))
  with pytest.raises(config_lib.ConfigError, match=r'sigma was 0\.3, is 0\.1'):
    sweeps.read_sweep(path, str(tmp_path))


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig'])
def test_a_sweep_file_may_begin_with_a_mark_and_paths_with_a_home(
  encoding, tmp_path, monkeypatch
):
  monkeypatch.setenv('HOME', str(tmp_path))
  (tmp_path / 's.json').write_text(json.dumps([_block()]), encoding=encoding)
  (run,) = sweeps.read_sweep('~/s.json', '~/runs')
  assert run.workdir == f'{tmp_path}/runs/walker-walk/ddpg-seed0'


@pytest.mark.parametrize('output', ['', '*', 'gs://bucket/runs'])
def test_an_output_that_is_no_path_is_a_sentence(tmp_path, output):
  path = _write(tmp_path / 's.json', _block())
  with pytest.raises(config_lib.ConfigError, match='^output='):
    sweeps.read_sweep(path, output)


def test_an_output_that_is_a_file_is_a_sentence(tmp_path):
  (tmp_path / 'file').write_text('')
  for output in (tmp_path / 'file', tmp_path / 'file/runs'):
    with pytest.raises(config_lib.ConfigError, match='cannot be a directory'):
      sweeps.make_output(str(output))
  with pytest.raises(config_lib.ConfigError, match='cannot be written'):
    sweeps.make_output('/proc')


def test_what_a_run_prints_and_cannot_write_is_a_sentence(tmp_path):
  path = _write(tmp_path / 's.json', _block())
  (run,) = sweeps.read_sweep(path, str(tmp_path))
  (tmp_path / 'walker-walk').touch()
  with pytest.raises(errors.RunFailedError, match='ddpg-seed0.out cannot be written'):
    run.start(tmp_path / 'launcher.py')


# Where the runs stand.


def test_the_screen_says_where_each_run_stands(tmp_path):
  path = _write(tmp_path / 's.json', _block(seeds=[0, 1, 2], overrides=TINY))
  runs = sweeps.read_sweep(path, str(tmp_path))
  for run, steps in zip(runs, (1000, 600)):
    os.makedirs(os.path.join(run.workdir, 'logs'))
    log = pathlib.Path(run.workdir, 'logs/evaluator.csv')
    log.write_text(f'actor_steps,episode_return\n0,1\n{steps},12.34\n')
  runs[2].failed = True
  lines = [' '.join(line.split()) for line in sweeps.screen(runs).splitlines()]
  assert lines == [
    'complete 1,000/1,000 return 12.3 walker-walk ddpg seed 0',
    'waiting 600/1,000 return 12.3 walker-walk ddpg seed 1',
    'failed 0/1,000 walker-walk ddpg seed 2',
    '3 runs: 1 complete, 0 running, 1 failed',
  ]


@pytest.mark.parametrize('damaged', ['\0\0\0', '100000,', ''])
def test_a_damaged_log_is_no_progress(tmp_path, damaged):
  path = _write(tmp_path / 's.json', _block())
  (run,) = sweeps.read_sweep(path, str(tmp_path))
  os.makedirs(os.path.join(run.workdir, 'logs'))
  log = pathlib.Path(run.workdir, 'logs/evaluator.csv')
  log.write_text(f'actor_steps,episode_return\n{damaged}')
  assert run.progress() == (0, None)
  assert run.state == 'waiting'


# Running.

# Fails as seed 1, else is complete at once.
LAUNCHER = """
import os, sys
flags = dict(flag[2:].split('=', 1) for flag in sys.argv[1:])
if flags['seed'] == '1':
  sys.exit('no luck')
os.makedirs(flags['workdir'] + '/logs')
with open(flags['workdir'] + '/logs/evaluator.csv', 'w') as file:
  file.write('actor_steps,episode_return\\n' + flags['num_steps'] + ',7\\n')
"""


@pytest.mark.process
def test_what_fails_is_named_and_what_is_complete_is_skipped(tmp_path, capsys):
  launcher = tmp_path / 'launchers/run.py'
  launcher.parent.mkdir()
  launcher.write_text(LAUNCHER)
  path = _write(tmp_path / 's.json', _block(seeds=[0, 1, 2], overrides=TINY))
  runs = sweeps.read_sweep(path, str(tmp_path))
  completed = []
  assert not sweeps.work(runs, 2, launcher, completed.append)
  assert [run.state for run in runs] == ['complete', 'failed', 'complete']
  assert {run.workdir for run in completed} == {runs[0].workdir, runs[2].workdir}
  printed = capsys.readouterr().out
  assert printed == f'failed with status 1: see {runs[1].workdir}.out\n'
  assert pathlib.Path(f'{runs[1].workdir}.out').read_text() == 'no luck\n'
  # Again: what is complete would fail, as its directory is there.
  again = sweeps.read_sweep(path, str(tmp_path))
  del again[1]
  assert sweeps.work(again, 2, launcher)


def _start(*arguments):
  environment = {k: v for k, v in os.environ.items() if k != 'TF_CPP_MIN_LOG_LEVEL'}
  return subprocess.Popen(
    [sys.executable, str(ROOT / 'launchers/sweep.py'), *map(str, arguments)],
    stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    env={**environment, 'PYTHONPATH': str(ROOT)},
  )  # fmt: skip


@pytest.fixture(name='start')
def _started():
  """`_start`, whose processes do not outlive a test that fails."""
  processes = []

  def start(*arguments):
    processes.append(_start(*arguments))
    return processes[-1]

  yield start
  for process in processes:
    if process.poll() is None:
      for child in psutil.Process(process.pid).children(recursive=True):
        child.kill()
      process.kill()


@pytest.mark.process
def test_an_interrupted_sweep_stops_its_runs_and_goes_on_to_their_end(tmp_path, start):
  agents = {'ddpg': {}, 'quiet': {'agent': 'ddpg', 'sigma': 0.0}}
  block = dict(agents=agents, tasks=['pendulum-swingup'], seeds=[3])
  path = tmp_path / 's.json'
  write = lambda n: _write(path, {**block, 'overrides': {**TINY, 'num_steps': n}})
  write(1_000_000)
  first, second = (tmp_path / f'pendulum-swingup/{name}-seed3' for name in agents)
  process = start(path, f'--output={tmp_path}', '--parallel=1')
  deadline = time.time() + PATIENCE
  while not log_files.last_row(str(first), 'actor'):
    assert process.poll() is None, process.communicate()
    assert time.time() < deadline
    time.sleep(0.1)
  children = psutil.Process(process.pid).children(recursive=True)
  assert children
  process.send_signal(signal.SIGINT)
  out, err = process.communicate(timeout=PATIENCE)
  assert process.returncode == 130, out + err
  assert 'the same command goes on from here' in out
  assert not psutil.wait_procs(children, timeout=PATIENCE)[1]
  printed = pathlib.Path(f'{first}.out')
  assert 'interrupted' in printed.read_text('utf-8')
  assert not second.exists()  # One at a time.

  # To a step that it has not reached, in the middle of its last episode.
  write(1000 + int(log_files.last_row(str(first), 'actor')['actor_steps']))
  process = start(path, f'--output={tmp_path}')
  out, err = process.communicate(timeout=PATIENCE)
  assert process.returncode == 0, out + err
  assert not err
  assert '2 runs: 2 complete, 0 running, 0 failed' in out.splitlines()[-1]
  assert 'resuming at step' in printed.read_text('utf-8')
  configs = [
    json.loads((workdir / 'config.json').read_text('utf-8'))['dsdpg']
    for workdir in (first, second)
  ]
  assert [config['sigma'] for config in configs] == [0.3, 0.0]
  assert all(config['hidden_sizes'] == [8, 8] for config in configs)
