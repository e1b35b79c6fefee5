"""The adder: replay holds each environment step once, as one flat float32 row."""

from typing import List

from acme import adders
import dm_env
import numpy as np
import reverb

# Rows of a chunk, which is compressed as one, and windows between two waits until replay
# has them all.
_CHUNK_LENGTH = 25


class RowAdder(adders.Adder):
  """Writes rows, and as items the windows of N + 1 rows that N-step transitions are.

  A row is an observation and what led to it: [observation [S], action [A], reward, gamma
  times the discount]. The transitions are those of Acme's `NStepTransitionAdder`, with
  the shorter ones at both ends of an episode. Those are filled up with rows that repeat
  the last observation with reward 0 and factor 1: return and discount stay as they are.
  """

  def __init__(self, client: reverb.Client, table: str, n_step: int, discount: float):
    """Initializes the adder.

    Args:
      client: of the server that has the table.
      table: its name.
      n_step: N, at least 1.
      discount: gamma, for one environment step.
    """
    num_kept = max(n_step + 1, _CHUNK_LENGTH)
    self._writer = client.trajectory_writer(num_kept)
    self._writer.configure(
      (), num_keep_alive_refs=num_kept, max_chunk_length=_CHUNK_LENGTH
    )
    self._table, self._n_step, self._discount = table, n_step, discount
    self._head: List[np.ndarray] = []  # The episode's first N rows, with its start.
    self._num_steps = 0

  def reset(self):
    """Ends the episode where it is, and waits until replay has all of it."""
    for end in range(1, len(self._head)):
      filler = self._filler(self._head[end])
      for row in (*self._head[: end + 1], *[filler] * (self._n_step - end)):
        self._writer.append(row)
      self._create_item()
    self._writer.end_episode()
    self._head, self._num_steps = [], 0

  def add_first(self, timestep: dm_env.TimeStep):
    if self._num_steps:  # The episode before was cut.
      self.reset()
    self._first_observation = np.array(timestep.observation, np.float32)

  def add(self, action, next_timestep: dm_env.TimeStep, extras=()):
    del extras
    outcome = (next_timestep.reward, self._discount * next_timestep.discount)
    row = np.concatenate([next_timestep.observation, action, outcome])
    row = row.astype(np.float32)
    if not self._num_steps:
      start = np.resize(self._first_observation, row.size)
      self._append(self._filler(start))
    self._append(row)
    self._num_steps += 1
    if self._num_steps >= self._n_step:
      self._create_item()
      if (self._num_steps - self._n_step) % _CHUNK_LENGTH == 0:  # The first at once.
        self._writer.flush()
    if next_timestep.last():
      self._create_shorter_items(self._filler(row))
      self.reset()

  def _append(self, row: np.ndarray):
    self._writer.append(row)
    if len(self._head) < self._n_step:
      self._head.append(row)

  def _create_item(self):
    """Creates an item of the newest N + 1 rows."""
    window = self._writer.history[-(self._n_step + 1) :]
    self._writer.create_item(self._table, 1.0, window)

  def _create_shorter_items(self, filler: np.ndarray):
    """Creates the items that end where the episode does, after the longest of them."""
    for num_fillers in range(1, self._n_step):
      self._writer.append(filler)
      if self._num_steps + num_fillers > self._n_step:  # It begins after the start.
        self._create_item()

  def _filler(self, row: np.ndarray) -> np.ndarray:
    """Returns a row at whose observation nothing happens any more."""
    size = self._first_observation.size
    filler = np.zeros_like(row)
    filler[:size], filler[-1] = row[:size], 1.0
    return filler
