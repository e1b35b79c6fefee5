"""The figure of a diagnosis."""

import matplotlib

matplotlib.use('Agg')
import matplotlib.pyplot as plt
import numpy as np

from acme_dsdpg.analysis import diagnosis


def draw(result: diagnosis.Diagnosis, title: str):
  """Draws returns, their calibration, dz/da, the model's errors, trust: a panel each."""
  figure, axes = plt.subplots(1, 5, figsize=(22, 4), layout='constrained')
  returns, calibration, gradients, errors, trust = axes
  _returns(returns, result.predicted, result.obtained)
  returns.set_title(title)
  if result.predicted.shape[1] > 1:
    _calibration(calibration, result.predicted, result.obtained)
  else:
    _absent(calibration, 'one return, no distribution')
  _gradients(gradients, result.gradients)
  if result.model_errors is None:
    _absent(errors, 'no world model')
  else:
    _model_errors(errors, result.model_errors)
  if result.trust is None:
    _absent(trust, 'no trust')
  else:
    _trust(trust, result.explained, result.trust)
  return figure


def _absent(axis, why):
  axis.text(0.5, 0.5, why, ha='center')
  axis.set_axis_off()


def _calibration(axis, predicted, obtained):
  below = diagnosis.calibration(predicted, obtained)
  axis.hist(below, np.linspace(0.0, 1.0, 11), weights=np.full(len(below), 1 / len(below)))
  axis.axhline(0.1, color='0.5', ls='--')
  axis.set(xlabel='share of the samples below the return', ylabel='share of the states')


def _gradients(axis, gradients):
  by_action = gradients.reshape([-1, gradients.shape[-1]])
  axis.boxplot(list(by_action.T), whis=(5, 95), showfliers=False)
  axis.axhline(0.0, color='0.5', lw=0.5)
  axis.set(xlabel='action', ylabel='dz/da: quartiles, 5% to 95%')


def _trust(axis, explained, trust):
  share = np.full(len(trust), 1 / len(trust))
  bins = np.linspace(-0.5, 1.0, 31)
  for values, label in ((explained, "$R^2$ of a step's change"), (trust, 'trust w')):
    axis.hist(np.maximum(values, bins[0]), bins, weights=share, alpha=0.6, label=label)
  axis.set(xlabel='of a step (all below -0.5 in the first bin)', ylabel='share of steps')
  axis.legend()


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
