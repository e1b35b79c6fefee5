"""A run directory with a policy in it, made in no time."""

from acme import specs
from dm_control import suite
import numpy as np

from acme_dsdpg import environments
from acme_dsdpg import networks as networks_lib
from acme_dsdpg.agent import presets
from acme_dsdpg.running import policy_files

CONFIG = presets.make_config(
  dict(env='cartpole', task='balance', agent='ddpg', hidden_sizes=(8, 8))
)


def make_environment(seed):
  """That environment, but for its episodes, of 100 steps instead of 1000."""
  return environments.wrap(
    suite.load('cartpole', 'balance', {'random': seed, 'time_limit': 1.0})
  )


def make_policy():
  """An untrained policy on cartpole that does something, and its spec."""
  spec = specs.make_environment_spec(make_environment(0))
  networks = networks_lib.make_networks(spec, CONFIG.dsdpg, 3)
  networks.normalizer.mean.assign([0.1, 0.2, 0.3, 0.4, 0.5])
  for variable in networks.policy.trainable_variables:
    variable.assign_add(0.2 * np.ones(variable.shape, np.float32))
  return networks.make_acting_policy(), spec


def make_run(workdir):
  """Fills a run directory; returns the policy."""
  (workdir / 'config.json').write_text(CONFIG.to_json(), encoding='utf-8')
  policy, spec = make_policy()
  policy_files.save_policy(policy, spec, str(workdir))
  return policy
