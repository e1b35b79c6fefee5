"""Arms of the figures: a method in a regime each, and which figure needs which.

TensorFlow is not imported here.
"""

import dataclasses
from typing import Callable, Dict, List, Optional, Sequence

from acme_dsdpg import config as config_lib

NUM_POINTS = (4, 8, 16, 32, 64)
INPUT_NOISE = (0.01, 0.1, 0.5)
BATCH_SIZE = 256  # Where points are not drawn once (A.7).
NUM_SAMPLES = 4  # Of the function at each x, and of a cGMMN.


@dataclasses.dataclass(frozen=True)
class Arm:
  """A method in a regime.

  Attributes:
    method: 'cgmmn', 'regression', or 'cvae' (Fig. 6).
    sobolev: trained on gradients as well.
    num_points: x's, drawn once; None draws new ones every step.
    input_noise: standard deviation of the noise added to x, new every step (A.7.1).
  """

  method: str
  sobolev: bool = False
  num_points: Optional[int] = None
  input_noise: float = 0.0

  @property
  def name(self) -> str:
    """Names the arm's directory."""
    parts = [self.method]
    if self.sobolev:
      parts.append('sobolev')
    if self.num_points is not None:
      parts.append(f'{self.num_points}points')
    if self.input_noise:
      parts.append(f'noise{self.input_noise:g}')
    return '-'.join(parts)

  @property
  def cost(self) -> int:
    """Cost of a step: its rows through a network, plus what a step of none takes."""
    rows = self.num_points or BATCH_SIZE
    if self.method != 'regression':
      rows *= NUM_SAMPLES * (2 if self.method == 'cvae' else 1)
    return 100 + rows * (1 + self.sobolev)


@dataclasses.dataclass(frozen=True)
class Settings:
  """Settings shared by the arms of a run directory.

  Attributes:
    num_steps: optimizer steps (A.7).
    num_seeds: models of an arm, each with data of its own.
    eval_every: steps between two evaluations.
  """

  num_steps: int = 25_000
  num_seeds: int = 5
  eval_every: int = 250


def methods(**kwargs) -> List[Arm]:
  """Returns both kinds of generator, with and without gradient information."""
  return [
    Arm(method, sobolev, **kwargs)
    for method in ('cgmmn', 'regression')
    for sobolev in (True, False)
  ]


def middle(num_points: Sequence[int]) -> int:
  """Returns the number of points whose training and predictions are shown."""
  return sorted(num_points)[(len(num_points) - 1) // 2]


def few_points(num_points: Sequence[int]) -> List[Arm]:
  """Returns all methods on points drawn once."""
  return [arm for n in num_points for arm in methods(num_points=n)]


def noisy(num_points: Sequence[int]) -> List[Arm]:
  """Returns the regression with noise on its input."""
  return [
    Arm('regression', num_points=n, input_noise=sigma)
    for n in num_points
    for sigma in INPUT_NOISE
  ]


def regressions(num_points: Sequence[int]) -> List[Arm]:
  """Returns the regression without and with noise, and with gradient information."""
  clean = [arm for arm in few_points(num_points) if arm.method == 'regression']
  return clean + noisy(num_points)


# Figure -> arms, given the numbers of points drawn once.
FIGURES: Dict[int, Callable[[Sequence[int]], List[Arm]]] = {
  2: lambda _: [Arm('cgmmn', True), Arm('regression', True)],
  3: lambda _: methods(),
  4: few_points,
  6: lambda _: [Arm('cvae')],
  7: lambda num_points: [Arm('regression', num_points=middle(num_points))],
  8: lambda num_points: noisy([middle(num_points)]),
  9: regressions,
  10: regressions,
}


def figure_numbers(names: Sequence[str]) -> List[int]:
  """Returns the figures' numbers of their names, in order; ['all'] names all.

  Raises:
    ConfigError: there is no such figure.
  """
  valid = tuple(map(str, FIGURES))
  names = valid if list(names) == ['all'] else names
  for name in names:
    if name not in valid:
      raise config_lib.ConfigError(
        f'figure={name!r} is not valid: it must be all or one of {", ".join(valid)}.'
      )
  return sorted({int(name) for name in names})
