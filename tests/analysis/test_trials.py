"""Rows of trials."""

import csv
import json
import pathlib
import subprocess

from acme_dsdpg.analysis import sweeps, trials


def _complete(tmp_path, seed):
  block = {'agents': {'quiet': {'agent': 'ddpg', 'sigma': 0.0}}, 'tasks': ['walker']}
  block.update(seeds=[seed], overrides={'num_steps': 3000, 'action_noise': 0.2})
  path = tmp_path / 's.json'
  path.write_text(json.dumps([block]))
  (run,) = sweeps.read_sweep(str(path), str(tmp_path))
  logs = pathlib.Path(run.workdir) / 'logs'
  logs.mkdir(parents=True)
  rows = 'actor_steps,episode_return,train_seconds\n0,0,0\n1000,10,5\n3000,30,15.2\n'
  (logs / 'evaluator.csv').write_text(rows)
  return run


def test_a_row_has_the_area_under_the_curve_and_what_was_asked_for(tmp_path):
  file = tmp_path / 'trials.csv'
  for seed in (3, 4):
    trials.append(str(file), _complete(tmp_path, seed), 'abc1234')
  first, second = csv.DictReader(file.read_text().splitlines())
  overrides = json.loads(first.pop('overrides'))
  assert overrides == {'agent': 'ddpg', 'sigma': '0.0', 'action_noise': '0.2'}
  # (0 + 10) / 2 over 1000 steps, (10 + 30) / 2 over 2000.
  assert first == {
    'trial': 'quiet', 'task': 'walker-walk', 'seed': '3', 'steps': '3000',
    'mean_return': '15.0', 'last_return': '30.0', 'train_seconds': '15',
    'commit': 'abc1234',
  }  # fmt: skip
  assert second['seed'] == '4'


def test_the_commit_says_where_files_differ(tmp_path):
  git = lambda *command: subprocess.run(
    ['git', '-C', tmp_path, '-c', 'user.name=a', '-c', 'user.email=a@b', *command],
    check=True, capture_output=True, text=True,
  ).stdout.strip()  # fmt: skip
  launcher = tmp_path / 'run.py'
  assert trials.commit_of(launcher) == 'unknown'
  launcher.write_text('')
  git('init')
  git('add', '.')
  git('commit', '-m', 'first')
  commit = git('rev-parse', '--short', 'HEAD')
  assert trials.commit_of(launcher) == commit
  launcher.write_text('changed')
  assert trials.commit_of(launcher) == f'{commit}+'
