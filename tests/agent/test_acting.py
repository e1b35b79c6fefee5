"""The actor that learns as it acts."""

import contextlib

import pytest

from acme_dsdpg.agent import acting


class _Part:
  """Counts the calls of an actor or a learner."""

  def __init__(self, steps_at_once=1):
    self._steps_at_once = steps_at_once
    self.steps = self.updates = 0

  def step(self):
    self.steps += self._steps_at_once

  def update(self, wait):
    self.updates += 1

  def observe(self, action, next_timestep):
    pass


@pytest.mark.parametrize(
  ('ratio', 'at_once', 'expected'),
  [
    (0.25, 1, [0, 0, 0, 0, 0, 1, 1, 1, 1, 2]),
    (2.0, 1, [0, 0, 2, 4, 6, 8, 10, 12, 14, 16]),
    (0.5, 2, [0, 0, 0, 0, 0, 2, 2, 2, 2, 4]),
    (2.0, 4, [0, 0, 0, 4, 4, 8, 8, 12, 12, 16]),
  ],
)
def test_updates_follow_the_ratio_after_the_first_observations(ratio, at_once, expected):
  learner, actor, contexts = _Part(at_once), _Part(), []

  @contextlib.contextmanager
  def first_call():
    contexts.append(learner.steps)
    yield

  learning_actor = acting.LearningActor(
    actor, learner, ratio, at_once, num_observations=-2, first_call=first_call
  )
  steps = []
  for _ in range(10):
    learning_actor.observe(None, None)
    learning_actor.update()
    steps.append(learner.steps)
  assert steps == expected
  assert actor.updates == learner.steps / at_once  # Its policy follows each call.
  assert contexts == [0]  # The first call alone, in which the steps are compiled.


def _steps_after(observations, seen=-100, taken=0, ratio=0.5):
  """Learner steps of an actor in so many observations, going on from `seen`, `taken`."""
  learner = _Part(8)
  actor = acting.LearningActor(_Part(), learner, ratio, 8, seen, taken)
  for _ in range(observations):
    actor.observe(None, None)
    actor.update()
  return learner.steps


def test_a_resumed_run_takes_the_steps_that_an_uninterrupted_one_does():
  whole = _steps_after(400)
  assert whole == 144
  for stop in (1, 99, 115, 116, 203, 250):
    first = _steps_after(stop)
    assert first + _steps_after(400 - stop, stop - 100, first) == whole


@pytest.mark.parametrize('taken', [0, 10_000])
def test_what_another_ratio_has_left_due_or_taken_too_early_is_forgotten(taken):
  assert abs(_steps_after(160, seen=900, taken=taken) - 80) <= 8
