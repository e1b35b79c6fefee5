"""Configuration: the only place where a default stands.

Two frozen dataclasses, checked on construction. `DSDPGConfig` describes the
agent and everything the builder needs; `ExperimentConfig` describes a run of
it. Neither imports TensorFlow, so that a mistake is reported at once.

The agents of the paper are presets of three independent switches (`critic`,
`sobolev`, `targets`) and of the kernel; see `PRESETS`.
"""

import dataclasses
import difflib
import json
import math
from typing import Any, Dict, Iterable, List, Mapping, Optional, Tuple

CRITICS = ('samples', 'point')
SOBOLEV = ('none', 'action', 'state_action')
TARGETS = ('observed', 'reconstructed', 'anchored', 'anchored_one_step')
KERNELS = ('multiquadric', 'rbf', 'rational_quadratic', 'linear')

# Overrides of `DSDPGConfig`'s defaults. The first eight are the paper's agents
# (Figs. 5, 11, 12); the last is the project's own.
PRESETS: Mapping[str, Mapping[str, Any]] = {
  'dsdpg': dict(critic='samples', sobolev='action', targets='reconstructed'),
  'dsdpg_state_action': dict(
    critic='samples', sobolev='state_action', targets='reconstructed'
  ),
  'ddpg': dict(critic='point', sobolev='none', targets='observed'),
  'ddpg_mmd': dict(critic='samples', sobolev='none', targets='observed'),
  'ddpg_reconstructed': dict(critic='point', sobolev='none', targets='reconstructed'),
  'ddpg_mmd_reconstructed': dict(
    critic='samples', sobolev='none', targets='reconstructed'
  ),
  'sobolev_ddpg': dict(critic='point', sobolev='action', targets='reconstructed'),
  'sobolev_ddpg_state_action': dict(
    critic='point', sobolev='state_action', targets='reconstructed'
  ),
  'dsdpg_anchored': dict(
    critic='samples',
    # The target's dz/da rests on dz/ds at the next state, which has to be learned too.
    sobolev='state_action',
    targets='anchored_one_step',
    # At 0.1 the latent takes over what the action does (results/dm_control_3e-4).
    kl_weight=1.0,
    # Adds the squared error between the mean returns, a hundred times.
    linear_return_weight=100.0,
    # At 1 cheetah-run learned more slowly, one seed (results/dm_control).
    action_gradient_scale=0.1,
    state_gradient_scale=0.1,
  ),
}
# Agents of others, run in the same harness, and what of `DSDPGConfig` applies to them.
BASELINE_FIELDS = (
  'discount', 'n_step', 'batch_size', 'sigma', 'min_replay_size', 'max_replay_size',
  'samples_per_insert', 'samples_per_insert_tolerance_rate', 'prefetch_size',
  'variable_update_period', 'replay_table_name',
)  # fmt: skip
BASELINES = {'d4pg': dict(critic='point', sobolev='none', targets='observed')}
AGENTS = {**PRESETS, **BASELINES}
DEFAULT_AGENT = 'dsdpg_anchored'

# What may differ between a run and its resumption.
RESUMABLE = (
  'num_steps', 'num_threads', 'num_actors', 'checkpoint_every', 'max_environment_faults',
  'max_skipped_updates', 'environment_timeout', 'starvation_timeout', 'max_replay_size',
  'samples_per_insert', 'samples_per_insert_tolerance_rate', 'variable_update_period',
)  # fmt: skip
# What says nothing of a run whose targets are observed.
_WORLD_MODEL_FIELDS = (
  'world_model_hidden_sizes', 'world_model_learning_rate', 'kl_weight',
  'normalize_outcomes',
)  # fmt: skip


class ConfigError(ValueError):
  """A configuration that cannot be run. Its text is meant for the user."""


def nearest(name: str, valid: Iterable[str]) -> str:
  """Returns ' Did you mean a, b?' for the valid names closest to `name`, or ''."""
  close = difflib.get_close_matches(name, list(valid), n=3, cutoff=0.5)
  return f' Did you mean {" or ".join(close)}?' if close else ''


def _check(condition: bool, field: str, value: Any, valid: str):
  if not condition:
    raise ConfigError(f'{field}={value!r} is not valid: it must be {valid}.')


class _Checks:
  """Type and range checks shared by the dataclasses below."""

  def _types(self):
    for field in dataclasses.fields(self):
      value = getattr(self, field.name)
      if not _matches(value, field.type):
        _check(False, field.name, value, f'of type {type_name(field.type)}')
      numbers = value if isinstance(value, tuple) else (value,)
      for number in numbers:
        if isinstance(number, float) and not math.isfinite(number):
          _check(False, field.name, value, 'finite')
      if field.type is float:  # An int is a fine float: keep one type.
        object.__setattr__(self, field.name, float(value))

  def _one_of(self, field: str, valid: Tuple[str, ...]):
    value = getattr(self, field)
    if value not in valid:
      hint = nearest(value, valid)
      raise ConfigError(
        f'{field}={value!r} is not valid: it must be one of {", ".join(valid)}.{hint}'
      )

  def _positive(self, *fields: str):
    for field in fields:
      value = getattr(self, field)
      _check(value > 0, field, value, 'greater than 0')

  def _non_negative(self, *fields: str):
    for field in fields:
      value = getattr(self, field)
      _check(value >= 0, field, value, '0 or greater')


def _matches(value: Any, kind: Any) -> bool:
  """Whether `value` has the annotated type (bool is no int, int is a float)."""
  if kind == Tuple[int, ...]:
    return isinstance(value, tuple) and all(_matches(v, int) for v in value)
  if kind == Tuple[float, ...]:
    return isinstance(value, tuple) and all(_matches(v, float) for v in value)
  if kind == Optional[str]:
    return value is None or isinstance(value, str)
  if kind is float:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
  if kind is int:
    return isinstance(value, int) and not isinstance(value, bool)
  return isinstance(value, kind)


def type_name(kind: Any) -> str:
  """A type's name for a person."""
  names = {
    Tuple[int, ...]: 'a tuple of ints',
    Tuple[float, ...]: 'a tuple of floats',
    Optional[str]: 'a string',
  }
  return names.get(kind) or kind.__name__


@dataclasses.dataclass(frozen=True)
class DSDPGConfig(_Checks):
  """The agent. Section and equation numbers are the paper's.

  Attributes:
    critic: 'samples' (cGMMN: M noise-driven returns a state-action pair) or
      'point' (one return, squared error).
    sobolev: which input gradients of the return are learned: 'none', 'action',
      or 'state_action'.
    targets: where bootstrapped targets are evaluated: 'observed' transitions,
      'reconstructed' ones (the world model's, Alg. 1), 'anchored' ones (the
      observed values with the world model's derivatives), or 'anchored_one_step'
      (the return that of the N observed steps, its gradient that of the first step
      alone, which is what the world model then learns).
    num_samples: M, samples of the return a state-action pair (A.8).
    policy_num_samples: samples the policy's loss averages over.
    num_critics: critics that learn beside each other from one target, in which the
      samples of all of them are pooled; each has `num_samples`. The policy ascends the
      mean over all, `policy_num_samples` of each. Not the paper's.
    num_dropped_samples: pooled samples of the target, those of the largest returns,
      that are left out (as TQC does, against overestimation). With two point critics
      and 1 the target is that of clipped double Q-learning. Not the paper's.
    noise_dim: K, dimension of the critic's noise (A.8).
    kernel: the MMD's kernel on a distance: 'multiquadric', 'rbf',
      'rational_quadratic' or 'linear'.
    multiquadric_h: h of the multiquadric kernel (A.8).
    rbf_bandwidths: sigmas of the RBF kernel; several make a mixture (Eq. 37).
    rational_quadratic_alpha: alpha of the rational quadratic kernel (Eq. 38).
    return_kernel_weight: weight of a second `kernel`, on the return alone, added to
      the one on return and gradients together, in which a far gradient leaves the
      multiquadric little pull on the return; 0 leaves it out. Without gradients there
      is one kernel only. Not the paper's.
    linear_return_weight: weight of a linear kernel on the return, added to
      `kernel`; 0 leaves it out, `dsdpg_anchored` has 100.
    linear_gradient_weight: weight of a linear kernel on the gradient coordinates.
    action_gradient_scale: factor on the dz/da coordinates inside `kernel`;
      `dsdpg_anchored` has 0.1.
    state_gradient_scale: factor on the dz/ds coordinates inside `kernel`;
      `dsdpg_anchored` has 0.1.
    max_sobolev_ratio: bound on what the gradients take of the critic's update: of its
      loss, the terms that hold gradients (those of a point critic: their squared error)
      move the weights at most by this multiple of the norm by which the terms on the
      return alone do (`return_kernel_weight`, `linear_return_weight`, of which one is
      needed; a point critic's squared TD error). The norms are over the weights of all
      critics; it costs a second backward pass; 0 leaves them unbounded. Where TD errors
      are small, as before any reward is met, the gradients would otherwise have the
      critic to themselves. Not the paper's.
    unbiased_mmd: drop i = j from the MMD's self terms.
    sobolev_weight: lambda on the gradient's squared error, point critic (Eq. 10).
    policy_pre_activation_weight: weight, in the policy's loss, of the squared norm of
      what its tanh is given, so that it does not saturate where returns hardly depend
      on the action; 0 leaves it out. Not the paper's.
    discount: gamma, for one environment step.
    n_step: steps of the N-step return (Eq. 9).
    target_update_rate: Polyak rate of the target networks.
    hidden_sizes: hidden layers of the policy and of the critic.
    world_model_hidden_sizes: hidden layers of encoder and decoder.
    layer_norm: first hidden layer of policy and critic is LayerNorm then tanh
      instead of Swish. Not the paper's; see the README's deviations.
    normalize_observations: standardise observations by the running mean and
      deviation of those replayed. Not the paper's; see the README.
    normalize_outcomes: standardise what the world model predicts, the reward and the
      change of the state, by running mean and deviation. Not the paper's.
    policy_learning_rate: step size of the policy's Rectified Adam.
    critic_learning_rate: step size of the critic's Rectified Adam.
    world_model_learning_rate: step size of the world model's Adam.
    world_model_updates: updates of the world model a learner step, each on `batch_size`
      transitions of its own, drawn beyond those that `samples_per_insert` counts; critic
      and policy learn from the last of these batches. Not the paper's.
    kl_weight: weight of the cVAE's KL term (Eq. 30); `dsdpg_anchored` has 1.
    batch_size: transitions an update.
    sigma: standard deviation of the exploration noise, actions in [-1, 1].
    min_replay_size: transitions before learning starts.
    max_replay_size: transitions kept, first in first out.
    samples_per_insert: transitions drawn from replay for each one added: an update every
      `batch_size` / `samples_per_insert` environment steps.
    samples_per_insert_tolerance_rate: slack of the rate limiter, as a fraction
      of `min_replay_size * samples_per_insert`. Distributed runs only.
    prefetch_size: batches prepared ahead of the learner.
    variable_update_period: environment steps between an actor's weight updates.
      Distributed runs only.
    jit_compile: compile the learner's step with XLA.
    replay_table_name: Reverb's name of the table.
  """

  critic: str = 'samples'
  sobolev: str = 'state_action'
  targets: str = 'anchored_one_step'

  num_samples: int = 10
  policy_num_samples: int = 10
  num_critics: int = 1
  num_dropped_samples: int = 0
  noise_dim: int = 16

  kernel: str = 'multiquadric'
  multiquadric_h: float = 100.0
  rbf_bandwidths: Tuple[float, ...] = (0.01, 0.05, 0.1, 0.5, 1.0, 10.0, 100.0)
  rational_quadratic_alpha: float = 1.0
  return_kernel_weight: float = 0.0
  linear_return_weight: float = 0.0
  linear_gradient_weight: float = 0.0
  action_gradient_scale: float = 1.0
  state_gradient_scale: float = 1.0
  max_sobolev_ratio: float = 0.0
  unbiased_mmd: bool = False
  sobolev_weight: float = 1.0
  policy_pre_activation_weight: float = 0.0

  discount: float = 0.99
  n_step: int = 5
  target_update_rate: float = 0.02

  hidden_sizes: Tuple[int, ...] = (256, 256)
  world_model_hidden_sizes: Tuple[int, ...] = (256, 256, 256)
  layer_norm: bool = True
  normalize_observations: bool = True
  normalize_outcomes: bool = False

  # The paper's 3e-4 are too slow for an update every 8 steps; see results/dm_control.
  policy_learning_rate: float = 1e-3
  critic_learning_rate: float = 1e-3
  world_model_learning_rate: float = 1e-3
  world_model_updates: int = 1
  kl_weight: float = 0.1

  batch_size: int = 64
  sigma: float = 0.3
  min_replay_size: int = 1_000
  max_replay_size: int = 1_000_000
  samples_per_insert: float = 8.0
  samples_per_insert_tolerance_rate: float = 0.1
  prefetch_size: int = 2
  variable_update_period: int = 100

  jit_compile: bool = True
  replay_table_name: str = 'priority_table'

  def __post_init__(self):
    self._types()
    self._one_of('critic', CRITICS)
    self._one_of('sobolev', SOBOLEV)
    self._one_of('targets', TARGETS)
    self._one_of('kernel', KERNELS)
    self._positive(
        'num_samples', 'policy_num_samples', 'num_critics', 'noise_dim',
        'multiquadric_h',
        'rational_quadratic_alpha', 'n_step', 'target_update_rate',
        'policy_learning_rate', 'critic_learning_rate',
        'world_model_learning_rate', 'world_model_updates', 'batch_size',
        'min_replay_size', 'max_replay_size', 'samples_per_insert',
        'samples_per_insert_tolerance_rate', 'prefetch_size',
        'variable_update_period',
    )  # fmt: skip
    self._non_negative(
        'return_kernel_weight', 'linear_return_weight', 'linear_gradient_weight',
        'sobolev_weight', 'action_gradient_scale', 'state_gradient_scale', 'sigma',
        'max_sobolev_ratio', 'kl_weight', 'num_dropped_samples',
        'policy_pre_activation_weight',
    )  # fmt: skip
    _check(0 < self.discount <= 1, 'discount', self.discount, 'in (0, 1]')
    _check(
      self.target_update_rate <= 1,
      'target_update_rate',
      self.target_update_rate,
      'in (0, 1]',
    )
    for field in ('hidden_sizes', 'world_model_hidden_sizes', 'rbf_bandwidths'):
      value = getattr(self, field)
      _check(
        bool(value) and all(v > 0 for v in value),
        field,
        value,
        'one or more numbers greater than 0',
      )
    _check(
      self.min_replay_size <= self.max_replay_size,
      'min_replay_size',
      self.min_replay_size,
      f'at most max_replay_size={self.max_replay_size}',
    )
    _check(
      self.sobolev == 'none' or self.targets != 'observed',
      'targets',
      self.targets,
      'reconstructed or anchored when sobolev is not none: observed '
      'transitions have no derivatives to learn from',
    )
    _check(
      self.sobolev != 'none' or not self.targets.startswith('anchored'),
      'targets',
      self.targets,
      'observed or reconstructed when sobolev is none: anchored targets differ '
      'from the observed ones in their derivatives alone',
    )
    _check(
      self.world_model_updates == 1 or self.uses_world_model,
      'world_model_updates',
      self.world_model_updates,
      f'1 with targets={self.targets}: there is no world model',
    )
    learns_the_return_alone = (
      self.critic == 'point'
      or self.return_kernel_weight > 0
      or self.linear_return_weight > 0
    )
    _check(
      not self.max_sobolev_ratio or (self.sobolev != 'none' and learns_the_return_alone),
      'max_sobolev_ratio',
      self.max_sobolev_ratio,
      '0 unless gradients are learned (sobolev is not none) and, by a critic of samples, '
      'the return alone as well (return_kernel_weight or linear_return_weight)',
    )
    _check(
      not (self.unbiased_mmd and self.critic == 'samples' and self.num_samples < 2),
      'num_samples',
      self.num_samples,
      '2 or more with unbiased_mmd',
    )
    pooled = self.num_critics * self.samples_per_critic
    least = 2 if self.unbiased_mmd and self.critic == 'samples' else 1
    _check(
      self.num_dropped_samples <= pooled - least,
      'num_dropped_samples',
      self.num_dropped_samples,
      f'at most {pooled - least}, so that {least} of the target are left '
      f'({self.num_critics} critics with {self.samples_per_critic} samples each)',
    )
    _check(bool(self.replay_table_name), 'replay_table_name', '', 'a name')

  @property
  def samples_per_critic(self) -> int:
    """Samples of the return that each critic draws; a point critic has one."""
    return self.num_samples if self.critic == 'samples' else 1

  @property
  def uses_world_model(self) -> bool:
    """Whether a world model exists and is trained."""
    return self.targets != 'observed'

  @property
  def one_step_model(self) -> bool:
    """Whether the world model spans one environment step instead of N."""
    return self.targets == 'anchored_one_step'

  @property
  def transitions_per_step(self) -> int:
    """Drawn from replay for one learner step, by all of its updates."""
    return self.batch_size * self.world_model_updates

  @property
  def updates_per_step(self) -> float:
    """Learner steps for each environment step."""
    return self.samples_per_insert / self.batch_size


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
    seed: seeds networks, noise, environments. Reverb's sampling is not seeded.
    num_steps: environment steps of all actors together.
    eval_every: environment steps between two evaluations.
    eval_episodes: deterministic episodes an evaluation, side by side in as many
      environments.
    log_every: learner steps between two rows of the learner's log.
    checkpoint_every: seconds; no checkpoint is older when a run is resumed, but for
      an episode that takes longer.
    num_threads: threads TensorFlow computes with in each process; 0 is all.
    num_actors: acting processes, distributed runs only.
    environment_timeout: seconds that an environment's step or reset may take; those of
      an evaluation together as many times that.
    max_environment_faults: failures of an environment in a row that end the run.
    max_skipped_updates: learner steps in a row that met NaN or infinity and end the run.
    starvation_timeout: seconds that a learner or an actor waits for the other before a
      line says so, distributed runs only.
    dsdpg: the agent.
  """

  env: str = 'walker'
  task: Optional[str] = None
  agent: str = DEFAULT_AGENT
  action_noise: float = 0.0
  seed: int = 0
  num_steps: int = 100_000
  eval_every: int = 5_000
  eval_episodes: int = 5
  log_every: int = 250
  checkpoint_every: float = 300.0
  num_threads: int = 0
  num_actors: int = 4
  environment_timeout: float = 60.0
  max_environment_faults: int = 5
  max_skipped_updates: int = 10
  starvation_timeout: float = 60.0
  dsdpg: DSDPGConfig = dataclasses.field(default_factory=DSDPGConfig)

  def __post_init__(self):
    self._types()
    self._one_of('agent', tuple(AGENTS))
    self._positive(
        'num_steps', 'eval_every', 'eval_episodes', 'log_every',
        'checkpoint_every', 'num_actors', 'environment_timeout',
        'max_environment_faults', 'max_skipped_updates', 'starvation_timeout',
    )  # fmt: skip
    self._non_negative('num_threads', 'seed', 'action_noise')
    agent = self.dsdpg
    _check(
      agent.batch_size <= agent.min_replay_size,
      'batch_size',
      agent.batch_size,
      f'at most min_replay_size={agent.min_replay_size}, or the first batches would '
      'repeat transitions',
    )
    _check(self.seed < 2**31, 'seed', self.seed, 'below 2**31')

  def to_json(self) -> str:
    """The resolved config as JSON, for the run directory."""
    return json.dumps(dataclasses.asdict(self), indent=2) + '\n'

  @classmethod
  def from_json(cls, text: str) -> 'ExperimentConfig':
    """Reads what `to_json` wrote. Raises ConfigError on unknown fields or bad values.

    A field that is younger than the text has its default, as what it stands for was not
    there: not what a preset has made of it since. A baseline's fields that do not apply
    to it are today's defaults, whatever they were.
    """
    values = json.loads(text)
    flat = {k: v for k, v in values.items() if k != 'dsdpg'}
    of_agent = values['dsdpg']
    if flat['agent'] in BASELINES:
      of_agent = {k: v for k, v in of_agent.items() if k in BASELINE_FIELDS}
    else:
      of_agent = {**dataclasses.asdict(DSDPGConfig()), **of_agent}
    flat.update(of_agent)
    flat = {k: tuple(v) if isinstance(v, list) else v for k, v in flat.items()}
    return make_config(flat)


def fields() -> Dict[str, dataclasses.Field]:
  """Every settable field of both dataclasses by name; the names are distinct."""
  result = {f.name: f for f in dataclasses.fields(ExperimentConfig)}
  del result['dsdpg']
  result.update({f.name: f for f in dataclasses.fields(DSDPGConfig)})
  return result


def differences(old: ExperimentConfig, new: ExperimentConfig) -> List[str]:
  """What `new` may not change of a run begun with `old`, in words."""
  flat = lambda c: {**dataclasses.asdict(c), **dataclasses.asdict(c.dsdpg)}
  before, now = flat(old), flat(new)
  free = set(RESUMABLE)
  if not (old.dsdpg.uses_world_model or new.dsdpg.uses_world_model):
    free.update(_WORLD_MODEL_FIELDS)
  return [
    f'{name} was {before[name]!r}, is {now[name]!r}'
    for name in fields()
    if before[name] != now[name] and name not in free
  ]


def make_config(
  overrides: Mapping[str, Any], defaults: Optional[Mapping[str, Any]] = None
) -> ExperimentConfig:
  """Resolves a config: defaults, then the preset's, the env's, the overrides.

  Args:
    overrides: values by field name, of either dataclass; what the user said.
    defaults: what differs for the environment (`configs/<env>.py`).

  Raises:
    ConfigError: an unknown field (the nearest names are given) or a bad value.
  """
  defaults = defaults or {}
  valid = fields()
  for name in (*overrides, *defaults):
    if name not in valid:
      raise ConfigError(f'Unknown config field {name!r}.{nearest(name, valid)}')
  agent = overrides.get('agent', defaults.get('agent', DEFAULT_AGENT))
  if not isinstance(agent, str) or agent not in AGENTS:
    ExperimentConfig(agent=agent)  # Raises, naming the valid ones.
  values = {**AGENTS[agent], **defaults, **overrides}
  agent_fields = {f.name for f in dataclasses.fields(DSDPGConfig)}
  if agent in BASELINES:
    default = DSDPGConfig(**BASELINES[agent])
    for name in sorted(agent_fields & set(overrides) - set(BASELINE_FIELDS)):
      _check(
        overrides[name] == getattr(default, name),
        name,
        overrides[name],
        f"left out with agent={agent!r}, which has Acme's own networks and learner",
      )
  return ExperimentConfig(
    dsdpg=DSDPGConfig(**{k: v for k, v in values.items() if k in agent_fields}),
    **{k: v for k, v in values.items() if k not in agent_fields},
  )
