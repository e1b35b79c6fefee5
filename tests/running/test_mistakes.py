"""Bad values, each through the launcher, which is imported once and forked."""

import json
import os
import subprocess
import sys

from tests.running import runs

MISTAKES = [
  ('--env=walke', 'walker'),
  ('--env=', 'env'),
  ('--env=walker --task=fly', 'stand, walk, run'),
  ('--env=cheetah --task=walk', 'run'),
  ('--agent=dspdg', 'dsdpg'),
  ('--num_smaples=3', 'num_samples'),
  ('--sed=3', 'seed'),
  ('walker', 'flags start with --'),
  ('--num_samples=many', 'num_samples'),
  ('--num_samples=0', 'greater than 0'),
  ('--num_samples=-3', 'greater than 0'),
  ('--num_samples=2.5', 'num_samples'),
  ('--policy_num_samples=0', 'greater than 0'),
  ('--noise_dim=0', 'greater than 0'),
  ('--n_step=0', 'greater than 0'),
  ('--batch_size=-1', 'greater than 0'),
  ('--batch_size=2000', 'min_replay_size=1000'),
  ('--min_replay_size=10 --max_replay_size=5', 'max_replay_size=5'),
  ('--max_replay_size=-5', 'greater than 0'),
  ('--samples_per_insert=-1', 'greater than 0'),
  ('--samples_per_insert=0', 'greater than 0'),
  ('--samples_per_insert_tolerance_rate=0', 'greater than 0'),
  ('--discount=1.5', '(0, 1]'),
  ('--discount=0', '(0, 1]'),
  ('--discount=nan', 'finite'),
  ('--sigma=-0.1', '0 or greater'),
  ('--sigma=inf', 'finite'),
  ('--action_noise=-0.1', '0 or greater'),
  ('--target_update_rate=2', '(0, 1]'),
  ('--critic_learning_rate=0', 'greater than 0'),
  ('--policy_learning_rate=-1', 'greater than 0'),
  ('--world_model_learning_rate=nan', 'finite'),
  ('--kl_weight=-1', '0 or greater'),
  ('--hidden_sizes=256,x', 'ints'),
  ('--hidden_sizes=', 'hidden_sizes'),
  ('--hidden_sizes=256,-1', 'greater than 0'),
  ('--rbf_bandwidths=0,1', 'greater than 0'),
  ('--kernel=gauss', 'rbf'),
  ('--multiquadric_h=0', 'greater than 0'),
  ('--critic=points', 'samples, point'),
  ('--sobolev=state', 'state_action'),
  ('--agent=dsdpg --targets=observed', 'reconstructed'),
  ('--agent=ddpg --targets=anchored', 'observed or reconstructed'),
  ('--unbiased_mmd --num_samples=1', '2 or more'),
  ('--unbiased_mmd=perhaps', 'unbiased_mmd'),
  ('--seed=-1', '0 or greater'),
  ('--num_steps=0', 'greater than 0'),
  ('--eval_every=0', 'greater than 0'),
  ('--eval_episodes=0', 'greater than 0'),
  ('--checkpoint_every=0', 'greater than 0'),
  ('--environment_timeout=0', 'greater than 0'),
  ('--max_skipped_updates=0', 'greater than 0'),
  ('--starvation_timeout=-1', 'greater than 0'),
  ('--num_threads=-1', '0 or greater'),
  ('--run_distributed --num_actors=0', 'greater than 0'),
  ('--run_distributed --agent=d4pg', 'one process only'),
  ('--agent=d4pg --num_samples=3', 'num_samples'),
  ('--workdir=/proc/nothing', 'cannot be read or written'),
  ('--workdir=file', 'not a directory'),
  ('--workdir=full', 'not a run directory'),
  ('--workdir=full --fresh', 'not a run directory'),
  ('--workdir=model --fresh', 'no part of a run from workdir='),
  ('--replay_table_name=', 'a name'),
]
MAKE_MISTAKES = """
import json, os, sys
from acme_dsdpg import command_line
from launchers import run_dsdpg
command_line.define_flags()
results = []
for name in ('experiment', 'distributed'):  # Not to be reached.
  sys.modules[f'acme_dsdpg.{name}'] = None
for line in json.loads(sys.argv[1]):
  read, write = os.pipe()
  if not os.fork():
    os.dup2(write, 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.argv = ['run_dsdpg.py', *line.split()]
    try:
      command_line.run(run_dsdpg.main)
    except SystemExit as e:
      os._exit(e.code)
    os._exit(0)
  os.close(write)
  with os.fdopen(read) as file:
    err = file.read()
  results.append([os.waitstatus_to_exitcode(os.wait()[1]), err])
assert 'tensorflow' not in sys.modules
print(json.dumps(results))
"""


def test_a_mistake_is_one_sentence_and_status_2_before_anything_starts(tmp_path):
  (tmp_path / 'file').touch()
  (tmp_path / 'full').mkdir()
  (tmp_path / 'full/something').touch()
  (tmp_path / 'model').mkdir()
  (tmp_path / 'model/config.json').write_text('{}')
  (tmp_path / 'model/weights').touch()
  lines = json.dumps([line for line, _ in MISTAKES])
  done = subprocess.run(
    [sys.executable, '-c', MAKE_MISTAKES, lines], cwd=tmp_path, text=True, timeout=120,
    env={**os.environ, 'PYTHONPATH': str(runs.ROOT)}, capture_output=True, check=True,
  )  # fmt: skip
  wrong = []
  for (line, text), (status, err) in zip(MISTAKES, json.loads(done.stdout)):
    if status != 2 or text not in err or len(err.strip().splitlines()) != 1:
      wrong.append((line, status, err))
  assert not wrong
  assert sorted(p.name for p in tmp_path.iterdir()) == ['file', 'full', 'model']
  assert {p.name for p in (tmp_path / 'model').iterdir()} == {'config.json', 'weights'}
