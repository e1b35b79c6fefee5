"""What the launchers say: --help, and mistakes in a sentence."""

import ast
import sys

import pytest

from acme_dsdpg import config as config_lib
from acme_dsdpg.agent import presets
from acme_dsdpg.running import command_line, errors
from tests.running import runs

LAUNCHERS = ('run_dsdpg', 'sweep', 'plot', 'evaluate', 'run_toy')
MISTAKES = [
  ('--env=walke', 'walker'),
  ('--env=', 'env'),
  ('--env=walker --task=fly', 'stand, walk, run'),
  ('--env=cheetah --task=walk', 'run'),
  ('--agent=dspdg', 'dsdpg'),
  ('--num_smaples=3', 'num_samples'),
  ('--sed=3', 'seed'),
  ('--num_critics=2', 'num_critics'),  # Retired.
  ('walker', 'flags start with --'),
  ('--num_samples=many', 'num_samples'),
  ('--targets=reconstructed', '--nopredictive_critic'),
  ('--world_model=cvae', '--nopredictive_critic'),
  ('--num_samples=0', 'greater than 0'),
  ('--num_samples=-3', 'greater than 0'),
  ('--num_samples=2.5', 'num_samples'),
  ('--noise_dim=0', 'greater than 0'),
  ('--n_step=0', 'greater than 0'),
  ('--batch_size=-1', 'greater than 0'),
  ('--batch_size=2000', 'min_replay_size=1000'),
  ('--min_replay_size=10 --max_replay_size=5', 'max_replay_size=5'),
  ('--max_replay_size=-5', 'greater than 0'),
  ('--samples_per_insert=-1', 'greater than 0'),
  ('--samples_per_insert=0', 'greater than 0'),
  ('--discount=1.5', '(0, 1]'),
  ('--discount=0', '(0, 1]'),
  ('--discount=nan', 'finite'),
  ('--sigma=-0.1', '0 or greater'),
  ('--sigma=inf', 'finite'),
  ('--action_noise=-0.1', '0 or greater'),
  ('--action_repeat=0', 'greater than 0'),
  ('--target_update_rate=2', '(0, 1]'),
  ('--critic_learning_rate=0', 'greater than 0'),
  ('--policy_learning_rate=-1', 'greater than 0'),
  ('--world_model_learning_rate=nan', 'finite'),
  ('--kl_weight=-1', '0 or greater'),
  ('--num_directions=-1', '0 or greater'),
  ('--world_model=vae', 'cvae, mean, residual_cvae'),
  ('--trust=all', 'none, mean, reconstruction'),
  ('--hidden_sizes=256,x', 'ints'),
  ('--hidden_sizes=', 'hidden_sizes'),
  ('--hidden_sizes=256,-1', 'greater than 0'),
  ('--multiquadric_h=0', 'greater than 0'),
  ('--critic=points', 'features, samples, point'),
  ('--sobolev=state', 'state_action'),
  ('--agent=dsdpg --targets=observed', 'reconstructed'),
  ('--agent=ddpg --targets=anchored', 'observed or reconstructed'),
  ('--agent=dsdpg --unbiased_mmd --num_samples=1', '2 or more'),
  ('--unbiased_mmd=perhaps', 'unbiased_mmd'),
  ('--seed=-1', '0 or greater'),
  ('--num_steps=0', 'greater than 0'),
  ('--eval_every=0', 'greater than 0'),
  ('--eval_episodes=0', 'greater than 0'),
  ('--checkpoint_every=0', 'greater than 0'),
  ('--environment_timeout=0', 'greater than 0'),
  ('--max_environment_faults=0', 'greater than 0'),
  ('--max_skipped_updates=0', 'greater than 0'),
  ('--starvation_timeout=-1', 'greater than 0'),
  ('--num_threads=-1', '0 or greater'),
  ('--run_distributed --num_actors=0', 'greater than 0'),
  ('--run_distributed --agent=d4pg', 'one process only'),
  ('--agent=d4pg --num_samples=3', 'num_samples'),
  ('--workdir=/proc/nothing', 'cannot be read or written'),
  ('--workdir=file', 'not a directory'),
  ('--workdir=', 'not empty'),  # Of a variable that is not set.
  ('"--workdir=runs/lr=[1e-3]"', 'TensorFlow reads as patterns'),
  ("'--workdir=a\\\\b'", 'TensorFlow reads as patterns'),
  ('--workdir=gs://bucket/run', 'on this machine'),
  ('--hidden_sizes=[256,x]', 'ints'),
  ('--hidden_sizes=[]', 'hidden_sizes'),
  ('--workdir=full', 'not a run directory'),
  ('--workdir=full --fresh', 'not a run directory'),
  ('--workdir=model --fresh', 'no part of a run from workdir='),
]


@pytest.mark.process
def test_a_mistake_is_one_sentence_and_status_2_before_anything_starts(tmp_path):
  (tmp_path / 'file').touch()
  (tmp_path / 'full').mkdir()
  (tmp_path / 'full/something').touch()
  (tmp_path / 'model').mkdir()
  (tmp_path / 'model/config.json').write_text('{}')
  (tmp_path / 'model/weights').touch()
  calls, imported = runs.call('run_dsdpg', [line for line, _ in MISTAKES], cwd=tmp_path)
  wrong = [
    (line, status, out, err)
    for (line, text), (status, out, err) in zip(MISTAKES, calls, strict=True)
    if status != 2 or out or text not in err or len(err.strip().splitlines()) != 1
  ]
  assert not wrong
  assert not imported  # Nobody waits for TensorFlow to be told of a mistake.
  assert sorted(p.name for p in tmp_path.iterdir()) == ['file', 'full', 'model']
  assert {p.name for p in (tmp_path / 'model').iterdir()} == {'config.json', 'weights'}


@pytest.mark.process
def test_bad_input_of_an_evaluation_is_a_sentence(tmp_path):
  for name in ('full', 'run'):
    (tmp_path / name).mkdir()
  (tmp_path / 'run/config.json').write_text(presets.make_config(runs.TINY).to_json())
  cases = [
    ('', 'Give one run directory'),
    ('nowhere', 'not a run directory'),
    ('run --video=a.gif', 'must be a path that ends in .mp4'),
    ('full', 'not a run directory'),
    ('run --video=no/such/a.mp4', 'is none'),
    ('run --video=/proc/a.mp4', 'cannot be written'),
    ('run --video=.mp4/', 'must be a path that ends in .mp4'),
    ('run --video=', 'must be a path that ends in .mp4'),
    ("'runs/lr=[1e-3]'", 'TensorFlow reads as patterns'),
    ("''", 'not empty'),
  ]
  calls, imported = runs.call(
    'evaluate', [line for line, _ in cases], 'one run directory', tmp_path
  )
  for (_, text), (status, out, err) in zip(cases, calls, strict=True):
    assert (status, out, len(err.strip().splitlines())) == (2, '', 1)
    assert text in err
  assert not imported


# Prints more than a pipe holds; a file that it opens is not the output.
PRINTS = """
from acme_dsdpg.running import command_line

def main():
  with open('/dev/null') as file:
    assert file.fileno() > 2
  print('text' * 100_000)

command_line.run(main)
"""


@pytest.mark.process
@pytest.mark.parametrize(
  ('redirection', 'status', 'said'),
  [
    ('>&-', 0, ''),
    ('<&- >&- 2>&-', 0, ''),
    ('| exec true', 141, ''),
    ('>/dev/full', 1, 'failed: No space left on device.\n'),
  ],
)
def test_output_that_nobody_takes_is_no_traceback(redirection, status, said):
  line = f'set -o pipefail; exec 3>&1; "$0" -c "$1" {redirection}'
  program = runs.Program(['bash', '-c', line, sys.executable, PRINTS])
  assert (program.wait(), program.err) == (status, said)


@pytest.mark.parametrize('given', ['64,32', '[64, 32]', '(64, 32)', '[64,32,]'])
def test_a_list_is_given_as_python_writes_it_or_with_commas_alone(given):
  value = given.split(',')
  kind = config_lib.fields()['hidden_sizes'].type
  assert command_line._parse('hidden_sizes', kind, value) == (64, 32)


@pytest.fixture(scope='module', name='helps')
def _helps():
  """What --help prints, by launcher, however it is asked for."""
  asked = dict(zip(LAUNCHERS, ['--help', '-h', '-help', '-?', '-h'], strict=True))
  programs = {name: runs.launcher(f'{name}.py', flag) for name, flag in asked.items()}
  for program in programs.values():
    assert program.wait() == 0, program.err
    assert not program.err
  return {name: program.out for name, program in programs.items()}


@pytest.mark.process
@pytest.mark.parametrize('name', LAUNCHERS)
def test_help_begins_with_what_the_program_says_of_itself(helps, name):
  source = (runs.ROOT / 'launchers' / f'{name}.py').read_text()
  assert helps[name].startswith(ast.get_docstring(ast.parse(source)))


@pytest.mark.process
def test_help_lists_every_field_with_its_meaning_and_default(helps):
  text = ' '.join(helps['run_dsdpg'].split())
  listed = {name: text.count(f' --{name}: ') for name in config_lib.fields()}
  booleans = [n for n, f in config_lib.fields().items() if f.type is bool]
  listed.update({name: text.count(f' --[no]{name}: ') for name in booleans})
  assert listed == dict.fromkeys(config_lib.fields(), 1)
  assert '--num_samples: M, samples of the return a state-action pair (A.8)' in text
  shown = lambda x: ','.join(map(str, x)) if isinstance(x, tuple) else x
  defaults = [shown(f.default) for f in config_lib.fields().values()]
  assert all(f'(default: {default})' in text for default in defaults)


@pytest.mark.parametrize(
  ('error', 'status', 'said'),
  [
    (config_lib.ConfigError('sigma=x is not valid.'), 2, 'sigma=x is not valid.\n'),
    (errors.RunFailedError('The environment failed.'), 1, 'failed: The environment'),
    (errors.NonFiniteActionError('The policy.'), 1, 'failed: The policy.\n'),
    (errors.RunInterruptedError(), 130, ''),
    (KeyboardInterrupt(), 130, ''),
  ],
)
def test_the_exit_status_says_how_a_run_ended(error, status, said, monkeypatch, capsys):
  def main():
    raise error

  monkeypatch.setattr(sys, 'argv', ['program'])
  with pytest.raises(SystemExit) as caught:
    command_line.run(main)
  assert caught.value.code == status
  out, err = capsys.readouterr()
  assert not out
  assert err.startswith(said) if said else not err


def test_a_run_that_came_to_its_end_does_not_exit(monkeypatch):
  monkeypatch.setattr(sys, 'argv', ['program'])
  command_line.run(lambda: None)


def test_a_mistake_in_the_program_is_no_sentence(monkeypatch):
  monkeypatch.setattr(sys, 'argv', ['program'])
  with pytest.raises(ZeroDivisionError):
    command_line.run(lambda: 1 / 0)
