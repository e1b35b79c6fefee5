"""The figure of a diagnosis."""

import matplotlib

matplotlib.use('Agg')
import matplotlib.pyplot as plt
import numpy as np

from acme_dsdpg.analysis import diagnosis


def draw(result: diagnosis.Diagnosis, title: str):
  """Draws returns, the world model's errors and dz/da, a panel each."""
  figure, axes = plt.subplots(1, 3, figsize=(14, 4), layout='constrained')
  _returns(axes[0], result.predicted, result.obtained)
  axes[0].set_title(title)
  if result.model_errors is None:
    axes[1].text(0.5, 0.5, 'no world model', ha='center')
    axes[1].set_axis_off()
  else:
    _model_errors(axes[1], result.model_errors)
  by_action = result.gradients.reshape([-1, result.gradients.shape[-1]])
  axes[2].boxplot(list(by_action.T), whis=(5, 95), showfliers=False)
  axes[2].axhline(0.0, color='0.5', lw=0.5)
  axes[2].set(xlabel='action', ylabel='dz/da: quartiles, 5% to 95%')
  return figure


def _returns(axis, predicted, obtained):
  low, high = np.quantile(predicted, [0.05, 0.95], axis=1)
  mean = predicted.mean(1)
  bars = [np.maximum(mean - low, 0), np.maximum(high - mean, 0)]
  axis.errorbar(obtained, mean, bars, fmt='.', ms=3, lw=0.5, alpha=0.5)
  ends = [min(obtained.min(), low.min()), max(obtained.max(), high.max())]
  axis.plot(ends, ends, color='0.5', ls='--')
  axis.set(xlabel='discounted return obtained', ylabel='predicted: mean, 5% to 95%')


def _model_errors(axis, errors):
  places = np.arange(len(errors[0]))
  for offset, label, error in zip((-0.2, 0.2), diagnosis.LATENTS, errors):
    axis.bar(places + offset, error, 0.4, label=label)
  axis.set_xticks(places, [*map(str, places[:-1]), 'R'], fontsize=7)
  axis.set(xlabel='observation, reward', ylabel='squared error / variance')
  axis.legend()
