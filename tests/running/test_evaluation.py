"""Blocks of deterministic episodes."""

import acme
from acme import specs
from acme.utils import loggers
import dm_env
import numpy as np
import pytest
import tensorflow as tf

from acme_dsdpg import environments
from acme_dsdpg.agent import policies, presets
from acme_dsdpg.running import environment_guard, errors, evaluation
from tests.running import runs, trained


class Countdown(dm_env.Environment):
  """Ends after `length` steps, paying its action each step and its length at the end."""

  def __init__(self, length):
    self._length = length

  def reset(self):
    self._steps = 0
    return dm_env.restart(np.zeros(2, np.float32))

  def step(self, action):
    self._steps += 1
    assert self._steps <= self._length  # Not stepped once it is over.
    observation, reward = np.full(2, self._steps, np.float32), np.float32(action[0])
    if self._steps == self._length:
      return dm_env.termination(np.float32(reward + self._length), observation)
    return dm_env.transition(reward, observation)

  def observation_spec(self):
    return specs.Array([2], np.float32)

  def action_spec(self):
    return specs.BoundedArray([1], np.float32, -1.0, 1.0)


def test_episodes_side_by_side_are_each_their_own():
  lengths = [3, 1, 5]
  side_by_side = evaluation.SideBySide([Countdown(length) for length in lengths])
  seen = []

  def policy(observation):
    seen.append(observation[:, 0].tolist())
    return np.array([[0.5], [0.25], [-0.5]], np.float32)

  loop = acme.EnvironmentLoop(
    side_by_side, evaluation.PolicyActor(policy), logger=loggers.NoOpLogger()
  )
  for _ in range(2):  # All begin anew together.
    seen.clear()
    row = evaluation.Evaluator(loop, 3).run()
    # 3 + 3 * 0.5, 1 + 0.25, 5 - 5 * 0.5.
    assert row['episode_return'] == pytest.approx(np.mean([4.5, 1.25, 2.5]))
    assert row['episode_return_std'] == pytest.approx(np.std([4.5, 1.25, 2.5]))
    assert (row['episode_return_min'], row['episode_return_max']) == (1.25, 4.5)
    assert (row['episode_length'], row['episodes']) == (5, 3)
    assert seen == [[0, 0, 0], [1, 1, 1], [2, 1, 2], [3, 1, 3], [3, 1, 4]]


def test_an_episode_that_is_over_earns_nothing_and_keeps_its_last_observation():
  environment = evaluation.SideBySide([Countdown(1), Countdown(3)])
  environment.reset()
  rewards, action = [], np.full([2, 1], 0.5, np.float32)
  for _ in range(3):
    timestep = environment.step(action)
    assert timestep.reward.dtype == np.float32
    assert timestep.observation[0].tolist() == [1, 1]
    rewards.append(timestep.reward.tolist())
  assert rewards == [[1.5, 0.5], [0.0, 0.5], [0.0, 3.5]]
  assert timestep.last()


def test_an_episode_of_no_steps_and_a_missing_action_are_refused():
  over = Countdown(1)
  over.reset = lambda: dm_env.termination(np.float32(0.0), np.zeros(2, np.float32))
  with pytest.raises(ValueError, match='an episode of no steps'):
    evaluation.SideBySide([Countdown(1), over]).reset()
  environment = evaluation.SideBySide([Countdown(1), Countdown(1)])
  environment.reset()
  with pytest.raises(ValueError, match='zip'):
    environment.step(np.zeros([1, 1], np.float32))


def test_side_by_side_returns_what_its_specs_say():
  environment = evaluation.SideBySide([trained.make_environment(seed) for seed in (0, 1)])
  first, spec = environment.reset(), environment.observation_spec()
  assert first.observation.shape == spec.shape == (2, 5)
  assert np.any(first.observation[0] != first.observation[1])
  timestep = environment.step(np.zeros([2, 1], np.float32))
  for field in ('observation', 'reward', 'discount'):
    value, spec = getattr(timestep, field), getattr(environment, f'{field}_spec')()
    assert (value.shape, value.dtype) == (spec.shape, spec.dtype)
  assert environment.action_spec().shape == (2, 1)


# The evaluation of a run.


@pytest.fixture(scope='module', name='run')
def _run(tmp_path_factory):
  """A run directory, and its policy."""
  workdir = tmp_path_factory.mktemp('run')
  return workdir, trained.make_run(workdir)


def _make_evaluator(
  policy, factory=trained.make_environment, steps=0, report=print, **values
):
  config = presets.make_config({'seed': 1, **values})
  spec = acme.make_environment_spec(trained.make_environment(0))
  acts = policies.NumpyPolicy(policy, spec.actions, config.dsdpg.normalize_observations)
  return evaluation.make_evaluator(config, acts, factory, steps, report)


def test_an_evaluation_is_of_the_weights_at_the_time(run):
  evaluator = _make_evaluator(run[1], eval_episodes=2)
  kept = [variable.numpy() for variable in run[1].variables]
  before = evaluator.run()
  for variable in run[1].trainable_variables:
    variable.assign(tf.zeros_like(variable))
  after = evaluator.run()
  for variable, value in zip(run[1].variables, kept):
    variable.assign(value)
  assert abs(after['episode_return'] - before['episode_return']) > 1


def test_the_episodes_of_an_evaluation_differ_and_are_those_of_their_seeds(run):
  row = _make_evaluator(run[1], eval_episodes=3).run()
  assert row == _make_evaluator(run[1], eval_episodes=3).run()
  assert row['episodes'] == 3
  assert row['episode_return_min'] < row['episode_return_max']
  # The first, alone: its seed is the run's, apart from those of acting.
  loop = acme.EnvironmentLoop(
    trained.make_environment(1 + evaluation.EVALUATION_SEED),
    evaluation.PolicyActor(lambda x: run[1](x[np.newaxis]).numpy()[0]),
    logger=loggers.NoOpLogger(),
  )
  expected = evaluation.Evaluator(loop, 1).run()['episode_return']
  alone = _make_evaluator(run[1], eval_episodes=1).run()
  assert alone['episode_return'] == pytest.approx(expected, rel=1e-3)


def _seeds(policy, **kwargs):
  """Those with which the environments of an evaluation are made."""
  seeds = []

  def factory(seed):
    seeds.append(seed)
    return trained.make_environment(seed)

  _make_evaluator(policy, factory, eval_episodes=3, **kwargs)
  return seeds


def test_each_start_of_a_run_is_evaluated_in_episodes_of_its_own(run):
  seeds = _seeds(run[1]) + _seeds(run[1], steps=1000) + _seeds(run[1], steps=2000)
  assert len(set(seeds)) == 9
  assert _seeds(run[1]) == seeds[:3]


def test_each_environment_of_an_evaluation_has_its_own_time_limit(run, monkeypatch):
  limits = []

  class Guard(environment_guard.GuardedEnvironment):
    def __init__(self, factory, timeout, max_episode_steps):
      limits.append(timeout)
      super().__init__(factory, timeout, max_episode_steps)

  monkeypatch.setattr(environment_guard, 'GuardedEnvironment', Guard)
  _make_evaluator(run[1], eval_episodes=3, environment_timeout=7.0)
  assert limits == [21.0]


def test_a_fault_costs_the_block_and_too_many_in_a_row_the_run(run):
  faults, lines = [True, False], []

  class Faulty(Countdown):
    def step(self, action):
      if faults.pop(0) if faults else False:
        raise ValueError('physics diverged')
      return super().step(action)

    def observation_spec(self):
      return specs.Array([5], np.float32)

    def reset(self):
      super().reset()
      return dm_env.restart(np.zeros(5, np.float32))

  def evaluate():
    make = lambda _: Faulty(1)
    return _make_evaluator(
      run[1], make, report=lines.append, eval_episodes=2, max_environment_faults=2
    ).run()

  assert evaluate()['episodes'] == 2
  assert len(lines) == 1
  faults.extend([True, True])
  with pytest.raises(errors.RunFailedError, match='2 times in a row'):
    evaluate()


@pytest.mark.parametrize(
  ('steps', 'evaluated', 'due'),
  [
    (0, -1, True),  # Never yet.
    (0, 0, False),
    (199, 0, False),
    (200, 0, True),
    (399, 200, False),
    (450, 200, True),  # Episodes end where they do.
    (600, 450, True),
    (650, 600, True),  # The last step.
    (650, 650, False),
  ],
)
def test_an_evaluation_is_due_every_so_many_steps_and_at_the_end(steps, evaluated, due):
  config = presets.make_config(runs.TINY)  # 600 steps, one every 200.
  assert evaluation.is_due(config, steps, evaluated) == due


@pytest.mark.process
def test_the_launcher_prints_what_the_same_episodes_give(run, tmp_path):
  workdir, policy = run
  # The policy of another environment.
  (tmp_path / 'policy').symlink_to(workdir / 'policy')
  config = presets.make_config({'env': 'acrobot', 'task': 'swingup'})
  (tmp_path / 'config.json').write_text(config.to_json(), encoding='utf-8')
  lines = [f'{workdir} --episodes=1 --seed=5', str(tmp_path)]
  calls, _ = runs.call('evaluate', lines, 'one run directory')
  (status, out, err), other = calls
  acting = tf.function(policy)
  loop = acme.EnvironmentLoop(
    environments.make_environment('cartpole', 'balance', 5),
    evaluation.PolicyActor(lambda x: acting(x[np.newaxis]).numpy()[0]),
    logger=loggers.NoOpLogger(),
  )
  row = evaluation.Evaluator(loop, 1).run()
  assert row['episode_return'] > 50  # Dense, so that another episode gives another.
  assert (status, err) == (0, '')
  assert f'1 episode: return {row["episode_return"]:.1f} +-' in out
  assert f'best {row["episode_return_max"]:.1f}' in out
  assert other[0] == 2
  assert 'acrobot-swingup has 6' in other[2]
  assert len(other[2].strip().splitlines()) == 1
