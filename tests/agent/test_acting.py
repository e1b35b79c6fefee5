"""The actor that learns as it acts."""

import contextlib

import pytest

from acme_dsdpg.agent import acting


class _Part:
  """Counts the calls of an actor or a learner."""

  def __init__(self):
    self.steps = self.updates = 0

  def step(self):
    self.steps += 1

  def update(self, wait):
    self.updates += 1

  def observe(self, action, next_timestep):
    pass


@pytest.mark.parametrize(
  ('ratio', 'expected'),
  [(0.25, [0, 0, 0, 0, 0, 1, 1, 1, 1, 2]), (2.0, [0, 0, 2, 4, 6, 8, 10, 12, 14, 16])],
)
def test_updates_follow_the_ratio_after_the_first_observations(ratio, expected):
  learner, actor, contexts = _Part(), _Part(), []

  @contextlib.contextmanager
  def first_step():
    contexts.append(learner.steps)
    yield

  learning_actor = acting.LearningActor(actor, learner, 2, ratio, first_step)
  steps = []
  for _ in range(10):
    learning_actor.observe(None, None)
    learning_actor.update()
    steps.append(learner.steps)
  assert steps == expected
  assert actor.updates == 10
  assert contexts == [0]  # The first step alone, which is compiled.
