"""The oracles are independent of what they test, and right about themselves."""

import ast
import pathlib
import sys

import numpy as np
import pytest

from tests.oracles import cvae, directional, sobolev

ORACLES = [p for p in pathlib.Path(__file__).parent.glob('*.py') if p.stem[:4] != 'test']
S, A, L, K, M = 3, 2, 4, 2, 2


def test_oracles_import_nothing_but_numpy_the_standard_library_and_oracles():
  assert {'kernels', 'mmd', 'sobolev', 'directional', 'cvae', 'mlp'} < {
    path.stem for path in ORACLES
  }
  for path in ORACLES:
    for node in ast.walk(ast.parse(path.read_text('utf-8'))):
      names = []
      if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
      elif isinstance(node, ast.ImportFrom):
        names = [node.module]
      for name in names:
        ours = name.startswith('tests.oracles')
        assert ours or name.split('.')[0] in {'numpy', *sys.stdlib_module_names}, path


def _problem():
  rng = np.random.default_rng(0)
  return dict(
    model=sobolev.Model(rng, S, A, L),
    policy=sobolev.Policy(rng, S, A),
    critic=sobolev.Critic(rng, S, A, K),
    s=rng.normal(size=S),
    a=rng.normal(size=A),
    eps=rng.normal(size=L),
    discount=0.7,
    noise=rng.normal(size=(M, K)),
  )


def test_critic_gradients_are_finite_differences():
  p = _problem()
  critic, s, a, xi = p['critic'], p['s'], p['a'], p['noise'][0]
  dz_ds, dz_da = critic.gradients(s, a, xi)
  numeric_s = sobolev.numerical_gradient(lambda x: critic.value(x, a, xi), s)
  numeric_a = sobolev.numerical_gradient(lambda x: critic.value(s, x, xi), a)
  np.testing.assert_allclose(dz_ds, numeric_s, atol=1e-8)
  np.testing.assert_allclose(dz_da, numeric_a, atol=1e-8)


@pytest.mark.parametrize('printed', [False, True])
def test_target_gradient_is_the_finite_difference_of_its_value_only_with_gamma(printed):
  p = _problem()

  def value(x):
    moved = {**p, 's': x[:S], 'a': x[S:]}
    return sobolev.target(**moved, wrt='none')[0, 0]

  numeric = sobolev.numerical_gradient(value, np.concatenate([p['s'], p['a']]))
  rows = sobolev.target(**p, wrt='state_action', printed=printed)
  assert np.allclose(rows[0, 1:], numeric, atol=1e-8) is not printed


def test_gradients_of_a_linear_critics_target_are_finite_differences():
  p = _problem()
  p['critic'] = directional.Critic(np.random.default_rng(1), S, A, K)
  del p['noise']

  def value(k):
    return lambda x: directional.target(
      **{**p, 's': x[:S], 'a': x[S:]}, directions=None, wrt='none'
    )[0, k]

  rows = directional.target(**p, directions=None, wrt='state_action')
  for k in range(1 + K):
    numeric = sobolev.numerical_gradient(value(k), np.concatenate([p['s'], p['a']]))
    np.testing.assert_allclose(rows[1:, k], numeric, atol=1e-8)


def test_gaussian_kl_is_the_mean_log_ratio():
  mean, std = np.array([0.3, -1.0]), np.array([0.5, 1.7])
  rng = np.random.default_rng(0)
  draws = mean + std * rng.normal(size=(10_000, 2))
  ratios = [
    cvae.log_density(x, mean, std) - cvae.log_density(x, np.zeros(2), np.ones(2))
    for x in draws
  ]
  error = 4.0 * np.std(ratios) / np.sqrt(len(ratios))
  assert abs(cvae.gaussian_kl(mean, std) - np.mean(ratios)) < error
