"""Configuration: the only place where a default stands.

Frozen dataclasses, checked on construction. `DSDPGConfig` describes the agent and
everything the builder needs, `ExperimentConfig` a run of it. Their defaults are those
of the default agent; the other agents are presets (`agent.presets`). TensorFlow is not
imported here, so that a mistake is reported at once.
"""

import dataclasses
import difflib
import json
import math
from typing import Any, Dict, FrozenSet, Iterable, List, Optional, Tuple

CRITICS = ('features', 'samples', 'point')
SOBOLEV = ('none', 'action', 'state_action')
TARGETS = ('observed', 'reconstructed', 'anchored')
WORLD_MODELS = ('cvae', 'mean', 'residual_cvae')
TRUSTS = ('none', 'mean', 'reconstruction')

# Learner steps in one call of what is compiled, as calls cost as much as small steps do.
UPDATES_PER_CALL = 8

# What may differ between a run and its resumption.
RESUMABLE = (
  'num_steps', 'num_threads', 'num_actors', 'checkpoint_every', 'max_environment_faults',
  'max_skipped_updates', 'environment_timeout', 'starvation_timeout', 'max_replay_size',
  'samples_per_insert', 'variable_update_period',
)  # fmt: skip


class ConfigError(ValueError):
  """A configuration that cannot be run. Its text is meant for the user."""


def nearest(name: str, valid: Iterable[str]) -> str:
  """Returns ' Did you mean a, b?' for the valid names closest to `name`, or ''."""
  close = difflib.get_close_matches(name, list(valid), n=3, cutoff=0.5)
  return f' Did you mean {" or ".join(close)}?' if close else ''


def check(condition: bool, field: str, value: Any, valid: str):
  """Raises ConfigError, naming the field and what would be valid, unless `condition`."""
  if not condition:
    raise ConfigError(f'{field}={value!r} is not valid: it must be {valid}.')


def check_one_of(field: str, value: str, valid: Iterable[str]):
  """Raises ConfigError, with the nearest names, unless `value` is one of `valid`."""
  valid = tuple(valid)
  if value not in valid:
    hint = nearest(value, valid)
    raise ConfigError(
      f'{field}={value!r} is not valid: it must be one of {", ".join(valid)}.{hint}'
    )


class _Checks:
  """Type and range checks shared by the dataclasses below."""

  def _types(self):
    for field in dataclasses.fields(self):
      value = plain(getattr(self, field.name))
      object.__setattr__(self, field.name, value)
      if not _matches(value, field.type):
        check(False, field.name, value, f'of type {type_name(field.type)}')
      if isinstance(value, float) and not math.isfinite(value):
        check(False, field.name, value, 'finite')
      if field.type is float:  # An int is a fine float: keep one type.
        object.__setattr__(self, field.name, float(value))

  def _positive(self, *fields: str):
    for field in fields:
      value = getattr(self, field)
      check(value > 0, field, value, 'greater than 0')

  def _non_negative(self, *fields: str):
    for field in fields:
      value = getattr(self, field)
      check(value >= 0, field, value, '0 or greater')


def _matches(value: Any, kind: Any) -> bool:
  """Returns whether `value` has the annotated type (bool is no int, int is a float)."""
  if kind == Tuple[int, ...]:
    return isinstance(value, tuple) and all(_matches(v, int) for v in value)
  if kind == Optional[str]:
    return value is None or isinstance(value, str)
  if kind is float:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
  if kind is int:
    return isinstance(value, int) and not isinstance(value, bool)
  return isinstance(value, kind)


def plain(value: Any) -> Any:
  """Returns a value as plain Python, lists and arrays (NumPy's) as tuples."""
  if hasattr(value, 'tolist'):
    value = value.tolist()
  return tuple(map(plain, value)) if isinstance(value, (list, tuple)) else value


def type_name(kind: Any) -> str:
  """Returns a type's name for a person."""
  names = {Tuple[int, ...]: 'a tuple of ints', Optional[str]: 'a string'}
  return names.get(kind) or kind.__name__


@dataclasses.dataclass(frozen=True)
class DSDPGConfig(_Checks):
  """The agent. Section and equation numbers are the paper's.

  Attributes:
    critic: 'features' (noise enters after the trunk, so that samples cost nothing and
      the mean is exact; not the paper's), 'samples' (the paper's cGMMN, noise beside
      state and action) or 'point' (one return, squared error).
    predictive_critic: the critic of features or points also sees what the world model's
      mean f (see `world_model`) predicts of state and action: reward and next state,
      one step ahead. Not the paper's.
    sobolev: which input gradients of the return are learned: 'none', 'action',
      or 'state_action'.
    targets: where bootstrapped targets are evaluated: 'observed' transitions,
      'reconstructed' ones (the world model's, Alg. 1), or 'anchored' ones (the return
      of the N observed steps; its gradient that of the first step, by the world
      model's derivatives there). Anchored targets are not the paper's.
    world_model: its mean, of (s, a) and a latent eps: 'cvae' is one decoder of all
      three (A.4); 'mean' is f(s, a), without a latent; 'residual_cvae' is
      f(s, a) + g(s, a, eps), the cVAE of what f leaves over. The last two are not the
      paper's.
    trust: which prediction of the observed step weighs its gradient, by the share of
      the change that it explains (`losses.trust`): the 'mean' f(s, a), the
      'reconstruction' at the inferred latent, or 'none'. Anchored targets, critics of
      features and points.
    num_samples: M, samples of the return a state-action pair (A.8), in the target and
      the critic's loss, and in the policy's loss of the paper's critic.
    num_features: K, of the critic of features.
    num_directions: D, random directions that gradients are learned along, in each
      transition; 0 is the whole gradient. Critic of features.
    noise_dim: K, dimension of the paper's critic's noise (A.8).
    multiquadric_h: h of the MMD's multiquadric kernel (A.8). The critic of features has
      the kernel divided by it, an energy distance rounded within 1 / h.
    unbiased_mmd: leave i = j out of the MMD's self terms. The paper's critic.
    sobolev_weight: lambda on the gradient's part of the loss (Eq. 10); critics of
      features and points.
    discount: gamma, for one environment step.
    n_step: steps of the N-step return (Eq. 9).
    target_update_rate: Polyak rate of the target networks.
    hidden_sizes: hidden layers of the policy and of the critic.
    world_model_hidden_sizes: hidden layers of encoder and decoder.
    layer_norm: the first hidden layer of policy and critic is LayerNorm then tanh
      instead of Swish. Not the paper's; see docs/paper.md.
    normalize_observations: standardise observations by the running mean and standard
      deviation of those replayed. Not the paper's; see docs/paper.md.
    policy_learning_rate: step size of the policy's Rectified Adam.
    critic_learning_rate: step size of the critic's Rectified Adam.
    world_model_learning_rate: step size of the world model's Adam.
    kl_weight: weight of the cVAE's KL term (Eq. 30); 0.1 in the paper.
    batch_size: transitions an update.
    sigma: standard deviation of the exploration noise, actions in [-1, 1].
    min_replay_size: transitions before learning starts.
    max_replay_size: transitions kept, first in first out.
    samples_per_insert: transitions drawn from replay for each one added: an update every
      `batch_size` / `samples_per_insert` environment steps.
    variable_update_period: environment steps between an actor's weight updates.
      Distributed runs only.
    jit_compile: compile the learner's step with XLA.
  """

  critic: str = 'features'
  predictive_critic: bool = True
  sobolev: str = 'action'
  targets: str = 'anchored'

  world_model: str = 'mean'
  trust: str = 'mean'

  num_samples: int = 10
  num_features: int = 16
  num_directions: int = 1
  noise_dim: int = 16

  multiquadric_h: float = 100.0
  unbiased_mmd: bool = False
  sobolev_weight: float = 1.0

  discount: float = 0.99
  n_step: int = 5
  target_update_rate: float = 0.01

  hidden_sizes: Tuple[int, ...] = (256, 256)
  world_model_hidden_sizes: Tuple[int, ...] = (256, 256, 256)
  layer_norm: bool = True
  normalize_observations: bool = True

  policy_learning_rate: float = 5e-4
  critic_learning_rate: float = 5e-4
  world_model_learning_rate: float = 5e-4
  kl_weight: float = 0.1

  batch_size: int = 64
  sigma: float = 0.3
  min_replay_size: int = 1_000
  max_replay_size: int = 1_000_000
  samples_per_insert: float = 64.0
  variable_update_period: int = 100

  jit_compile: bool = True

  def __post_init__(self):
    self._types()
    check_one_of('critic', self.critic, CRITICS)
    check_one_of('sobolev', self.sobolev, SOBOLEV)
    check_one_of('targets', self.targets, TARGETS)
    check_one_of('world_model', self.world_model, WORLD_MODELS)
    check_one_of('trust', self.trust, TRUSTS)
    self._positive(
        'num_samples', 'num_features', 'noise_dim', 'multiquadric_h', 'n_step',
        'target_update_rate', 'policy_learning_rate', 'critic_learning_rate',
        'world_model_learning_rate', 'batch_size', 'min_replay_size', 'max_replay_size',
        'samples_per_insert', 'variable_update_period',
    )  # fmt: skip
    self._non_negative('num_directions', 'sobolev_weight', 'sigma', 'kl_weight')
    check(0 < self.discount <= 1, 'discount', self.discount, 'in (0, 1]')
    check(
      self.target_update_rate <= 1,
      'target_update_rate',
      self.target_update_rate,
      'in (0, 1]',
    )
    for field in ('hidden_sizes', 'world_model_hidden_sizes'):
      value = getattr(self, field)
      check(
        bool(value) and all(v > 0 for v in value),
        field,
        value,
        'one or more numbers greater than 0',
      )
    check(
      self.min_replay_size <= self.max_replay_size,
      'min_replay_size',
      self.min_replay_size,
      f'at most max_replay_size={self.max_replay_size}',
    )
    check(
      self.sobolev == 'none' or self.targets != 'observed',
      'targets',
      self.targets,
      'reconstructed or anchored when sobolev is not none: observed '
      'transitions have no derivatives to learn from',
    )
    check(
      self.sobolev != 'none' or self.targets != 'anchored',
      'targets',
      self.targets,
      'observed or reconstructed when sobolev is none: anchored targets differ '
      'from the observed ones in their derivatives alone',
    )
    check(
      not (self.unbiased_mmd and self.critic == 'samples' and self.num_samples < 2),
      'num_samples',
      self.num_samples,
      '2 or more with unbiased_mmd',
    )
    check(
      not (self.sees_prediction and self.world_model == 'cvae'),
      'predictive_critic',
      self.predictive_critic,
      "false (--nopredictive_critic) with world_model='cvae', which has no mean",
    )
    check(
      not (self.sees_prediction and self.targets == 'reconstructed'),
      'predictive_critic',
      self.predictive_critic,
      'false (--nopredictive_critic) with reconstructed targets, whose world model '
      'spans N steps',
    )
    check(
      not (self.trust == 'mean' and self.world_model == 'cvae' and self._uses_trust),
      'trust',
      self.trust,
      "none or reconstruction with world_model='cvae', which has no mean",
    )

  @property
  def _uses_trust(self) -> bool:
    return self.targets == 'anchored' and self.critic != 'samples'

  @property
  def sees_prediction(self) -> bool:
    """True if the critic sees what the world model predicts."""
    return self.predictive_critic and self.critic != 'samples'

  @property
  def uses_world_model(self) -> bool:
    """True if a world model exists and is trained."""
    return self.targets != 'observed' or self.sees_prediction

  @property
  def one_step_model(self) -> bool:
    """True if the world model spans one environment step instead of N."""
    return self.targets == 'anchored' or self.sees_prediction

  @property
  def updates_per_step(self) -> float:
    """Learner steps for each environment step."""
    return self.samples_per_insert / self.batch_size

  def unused_fields(self) -> FrozenSet[str]:
    """Names of the fields that do nothing under this config's switches."""
    unused = set()
    if not self.uses_world_model:
      unused |= {
        'world_model', 'world_model_hidden_sizes', 'world_model_learning_rate',
        'kl_weight',
      }  # fmt: skip
    if self.world_model == 'mean':
      unused.add('kl_weight')
    if self.critic == 'samples':
      unused |= {
        'predictive_critic', 'num_features', 'num_directions', 'sobolev_weight',
      }  # fmt: skip
    else:
      unused |= {'noise_dim', 'unbiased_mmd'}
    if self.critic == 'point':
      unused |= {'num_samples', 'num_features', 'multiquadric_h'}
    if self.sobolev == 'none':
      unused |= {'sobolev_weight', 'num_directions'}
    if not self._uses_trust:
      unused.add('trust')
    return frozenset(unused)


@dataclasses.dataclass(frozen=True)
class FaultLimits(_Checks):
  """Limits of what may go wrong before a run ends or says so.

  Attributes:
    environment_timeout: seconds that an environment's step or reset may take; those of
      an evaluation together as many times that.
    max_environment_faults: failures of an environment in a row that end the run.
    max_skipped_updates: learner steps in a row that met NaN or infinity and end the run.
    starvation_timeout: seconds that a learner or an actor waits for the other before a
      line says so. Distributed runs only.
  """

  environment_timeout: float = 60.0
  max_environment_faults: int = 5
  max_skipped_updates: int = 10
  starvation_timeout: float = 60.0

  def __post_init__(self):
    self._types()
    self._positive(*(field.name for field in dataclasses.fields(self)))


@dataclasses.dataclass(frozen=True)
class ExperimentConfig(_Checks):
  """One run: an agent, a task, a budget, and how it is watched.

  Attributes:
    env: domain of dm_control's suite.
    task: task of that domain; None is the domain's default task.
    agent: name of the preset, or 'd4pg' (Acme's own, with its own networks and
      optimizers); recorded with the results.
    action_noise: standard deviation of Gaussian noise on the actions inside the
      environment, acting and evaluating alike, as a fraction of their range.
    action_repeat: simulator steps that take each action. Every count of environment
      steps is of the agent's actions.
    seed: seeds networks, noise, environments. Reverb's sampling is not seeded.
    num_steps: environment steps of all actors together.
    max_episode_steps: environment steps after which an episode is ended, as by a time
      limit, where the environment has not ended it. The suite's tasks do.
    eval_every: environment steps between two evaluations.
    eval_episodes: deterministic episodes an evaluation, side by side in as many
      environments.
    log_every: learner steps between two rows of the learner's log.
    checkpoint_every: seconds; no checkpoint is older when a run is resumed, but for
      an episode that takes longer.
    num_threads: threads TensorFlow computes with in each process; 0 is all.
    num_actors: acting processes. Distributed runs only.
    limits: of faults.
    dsdpg: the agent.
  """

  env: str = 'walker'
  task: Optional[str] = None
  agent: str = 'dsdpg_anchored'
  action_noise: float = 0.0
  action_repeat: int = 1
  seed: int = 0
  num_steps: int = 100_000
  max_episode_steps: int = 1_000
  eval_every: int = 5_000
  eval_episodes: int = 5
  log_every: int = 250
  checkpoint_every: float = 300.0
  num_threads: int = 0
  num_actors: int = 4
  limits: FaultLimits = FaultLimits()
  dsdpg: DSDPGConfig = DSDPGConfig()

  def __post_init__(self):
    self._types()
    self._positive(
        'num_steps', 'max_episode_steps', 'eval_every', 'eval_episodes', 'log_every',
        'checkpoint_every', 'num_actors', 'action_repeat',
    )  # fmt: skip
    self._non_negative('num_threads', 'seed', 'action_noise')
    check(
      self.dsdpg.batch_size <= self.dsdpg.min_replay_size,
      'batch_size',
      self.dsdpg.batch_size,
      f'at most min_replay_size={self.dsdpg.min_replay_size}, or the first batches would '
      'repeat transitions',
    )
    check(self.seed < 2**31, 'seed', self.seed, 'below 2**31')

  def to_json(self) -> str:
    """Returns the resolved config as JSON, for the run directory."""
    return json.dumps(dataclasses.asdict(self), indent=2) + '\n'


# Fields of `ExperimentConfig` that are dataclasses themselves.
GROUPS = {'limits': FaultLimits, 'dsdpg': DSDPGConfig}


def fields() -> Dict[str, dataclasses.Field]:
  """Returns every settable field of the dataclasses by name; the names are distinct."""
  classes = (ExperimentConfig, *GROUPS.values())
  every = (field for cls in classes for field in dataclasses.fields(cls))
  return {field.name: field for field in every if field.name not in GROUPS}


def flatten(config: ExperimentConfig) -> Dict[str, Any]:
  """Returns the values of all fields by name."""
  values = vars(config)
  own = {name: value for name, value in values.items() if name not in GROUPS}
  return {**own, **vars(config.limits), **vars(config.dsdpg)}


def unflatten(values: Dict[str, Any]) -> ExperimentConfig:
  """Returns the config with these values by name, the defaults elsewhere.

  Raises:
    ConfigError: an unknown field (the nearest names are given) or a bad value.
  """
  valid = fields()
  for name in values:
    if name not in valid:
      raise ConfigError(f'Unknown config field {name!r}.{nearest(name, valid)}')
  groups, rest = {}, dict(values)
  for group, cls in GROUPS.items():
    names = {field.name for field in dataclasses.fields(cls)} & rest.keys()
    groups[group] = cls(**{name: rest.pop(name) for name in names})
  return ExperimentConfig(**rest, **groups)


def differences(old: ExperimentConfig, new: ExperimentConfig) -> List[str]:
  """Returns what `new` may not change of a run begun with `old`, in words."""
  before, now = flatten(old), flatten(new)
  free = {*RESUMABLE, *(old.dsdpg.unused_fields() & new.dsdpg.unused_fields())}
  return [
    f'{name} was {before[name]!r}, is {now[name]!r}'
    for name in fields()
    if before[name] != now[name] and name not in free
  ]
