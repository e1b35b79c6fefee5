"""Diagnoses in words."""

from typing import Dict, Iterator

import numpy as np

from acme_dsdpg.analysis import diagnosis, gradients, simulation
from acme_dsdpg.analysis.trained_agent import TrainedAgent

_HORIZONS = (1, 5, 20, 100)  # Simulated steps of returns.


def of_simulator(
  agent: TrainedAgent,
  simulator: simulation.Simulator,
  num_returns: int,
  num_targets: int,
  num_models: int,
  seed: int,
) -> Iterator[str]:
  """Compares derivatives with the simulator's, and says how near they are, as it goes.

  Args:
    agent: the trained agent.
    simulator: of its task.
    num_returns: states for `gradients.compare_returns` and `compare_slopes`, for several
      horizons.
    num_targets: states for `gradients.compare_targets`.
    num_models: states for `gradients.compare_model`.
    seed: of the exploration noise.

  Raises:
    ConfigError: the simulator cannot be set back.
  """
  visit = lambda number: gradients.visit(agent, simulator, number, seed=seed)
  if num_returns:
    visited = visit(num_returns)
    for steps in _HORIZONS:
      parts = gradients.compare_returns(agent, simulator, visited, steps)
      yield of_returns(steps, parts)
      slopes = gradients.compare_slopes(agent, simulator, visited, steps, seed)
      yield of_slopes(steps, slopes)
  if num_targets:
    parts = gradients.compare_targets(agent, simulator, visit(num_targets))
    yield of_targets(parts)
  if num_models:
    jacobians = gradients.compare_model(agent, simulator, visit(num_models), seed)
    yield of_model(diagnosis.model_steps(agent.config), *jacobians)


def of_episodes(result: diagnosis.Diagnosis) -> str:
  """Returns a diagnosis in words, a line for each part."""
  predicted, obtained = result.predicted, result.obtained
  low, high = np.quantile(predicted, [0.05, 0.95], axis=1)
  with np.errstate(invalid='ignore'):  # Not a number where every return was the same.
    correlation = np.corrcoef(obtained, predicted.mean(1))[0, 1]
  norm = np.linalg.norm(result.gradients, axis=-1)
  lines = [
    f'return: obtained {obtained.mean():.2f}, predicted {predicted.mean():.2f}, '
    f'correlation {correlation:.2f}, within 5% to 95%: '
    f'{np.mean((low <= obtained) & (obtained <= high)):.0%}, '
    f'spread of the samples {predicted.std(1).mean():.2f}',
  ]
  if predicted.shape[1] > 1:
    below = diagnosis.calibration(predicted, obtained)
    lines.append(
      f'calibration: {np.mean(below < 0.1):.0%} of the returns at or below the lowest '
      f'tenth of the samples, {np.mean(below > 0.9):.0%} at or above the highest'
    )
  lines += [
    f'|dz/da|: mean {norm.mean():.3f}, spread over samples {norm.std(1).mean():.3f}',
    f'actions within 5% of their bounds: {result.saturation:.0%}',
  ]
  for label, error in zip(diagnosis.LATENTS, result.model_errors or ()):
    lines.append(
      f'world model, {label}: squared error / variance, mean of the states '
      f'{error[:-1].mean():.3f}, worst {error[:-1].max():.3f}, reward {error[-1]:.3f}'
    )
  if result.trust is not None:
    quartiles = lambda x: '{1:.2f}, quartiles {0:.2f} to {2:.2f}'.format(
      *np.quantile(x, [0.25, 0.5, 0.75])
    )
    lines.append(
      f'steps: R^2 of the change, median {quartiles(result.explained)}; trust w, median '
      f'{quartiles(result.trust)}'
    )
  return '\n'.join(lines)


def agreement(ours: np.ndarray, theirs: np.ndarray) -> str:
  """Describes how near gradients [N, ...] are to others, row by row."""
  ours, theirs = (x.reshape([len(x), -1]) for x in (ours, theirs))
  cosine = gradients.cosines(ours, theirs)
  low, high = np.quantile(cosine, [0.25, 0.75])
  with np.errstate(divide='ignore', invalid='ignore'):  # Of what is 0.
    size = np.linalg.norm(ours, axis=-1) / np.linalg.norm(theirs, axis=-1)
  return (
    f'cosine, median {np.median(cosine):.2f}, quartiles {low:.2f} to {high:.2f}, '
    f'relative size, median {np.median(size):.2f}'
  )


def of_returns(num_steps: int, parts: Dict[str, np.ndarray]) -> str:
  """Describes the result of `gradients.compare_returns`, a line."""
  forward, backward = parts['forward'], parts['backward']
  return (
    f'dz/da against {num_steps} simulated steps and the value then: '
    f'{agreement(parts["critic"], (forward + backward) / 2.0)}; '
    f'the differences to both sides: {agreement(forward, backward)}'
  )


def of_slopes(num_steps: int, parts: Dict[str, np.ndarray]) -> str:
  """Describes the result of `gradients.compare_slopes`, a line."""
  return (
    f'dz/da against the slope over exploration noise, {num_steps} simulated steps and '
    f'the value then: {agreement(parts["critic"], parts["slope"])}; the slopes of either '
    f'half of the noise: {agreement(*parts["halves"])}'
  )


def of_targets(parts: Dict[str, np.ndarray]) -> str:
  """Describes the result of `gradients.compare_targets`, a line for each comparison."""
  norm = lambda x: np.median(np.linalg.norm(x, axis=-1))
  label = "dz/da against the one-step target's by the"
  true = parts['reward'] + parts['bootstrap']
  lines = [f'{label} simulator: {agreement(parts["critic"], true)}']
  totals = {'': true}
  if 'model_reward' in parts:
    totals['model_'] = told = parts['model_reward'] + parts['model_bootstrap']
    lines += [
      f'{label} model: {agreement(parts["critic"], told)}',
      f"the target's by the model, by the simulator: {agreement(told, true)}",
    ]
  for prefix, total in totals.items():
    lines.append(
      f'medians by the {"model" if prefix else "simulator"}: |dR/da| '
      f'{norm(parts[f"{prefix}reward"]):.4f}, the bootstrapped part '
      f'{norm(parts[f"{prefix}bootstrap"]):.4f}, both {norm(total):.4f}'
    )
  return '\n'.join(lines)


def of_model(num_steps: int, learned: np.ndarray, simulated: np.ndarray) -> str:
  """Describes the result of `gradients.compare_model`: the state's, and the reward's."""
  label = f'{num_steps} step{"s" * (num_steps > 1)} ahead'
  return '\n'.join(
    f'd{name}/da of the world model, {label}, against the simulator: '
    f'{agreement(learned[..., part], simulated[..., part])}'
    for name, part in (('s+', slice(1, None)), ('R', slice(1)))
  )
