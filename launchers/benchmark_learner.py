"""What a learner step costs, by stage, against Algorithm 1 taken literally.

Everything compared is measured in turn in one process; medians of CPU and of wall
time. The arithmetic of a stage is the least that its definition needs (`arithmetic`),
and the limit is the time that the machine's own matrix product, measured in the same
turns, takes for as much.
"""

import functools
import json
import os
import platform
import statistics
import sys
import time

from acme_dsdpg.running import quiet

quiet.silence()

from absl import flags
from acme import specs, types
from acme.agents.tf import d4pg, ddpg
from acme.agents.tf.d4pg import networks as d4pg_networks
from acme.tf import networks as acme_networks
from acme.utils import loggers
import numpy as np
import reverb
import sonnet as snt
import tensorflow as tf

from acme_dsdpg import config as config_lib
from acme_dsdpg import networks as networks_lib
from acme_dsdpg.agent import adders as agent_adders
from acme_dsdpg.agent import learning, plain
from acme_dsdpg.losses import sobolev
from acme_dsdpg.running import command_line

_PART = flags.DEFINE_multi_enum(
  'part',
  ['compile', 'stages', 'jacobian', 'agents', 'equal', 'growth'],
  ['compile', 'stages', 'jacobian', 'agents', 'equal', 'growth'],
  'What to do.',
)
_REPEATS = flags.DEFINE_integer('repeats', 9, 'Measurements of each, taken in turn.', 1)
_NUM_THREADS = flags.DEFINE_integer('num_threads', 1, "TensorFlow's; 0 is all.")
_OUTPUT = flags.DEFINE_string('output', None, 'JSON file for the figures.')

# Observation and action sizes.
SIZES = {'cartpole': (5, 1), 'walker': (24, 6), 'humanoid': (67, 21), 'dog': (223, 38)}
PAPER = dict(agent='dsdpg', layer_norm=False, noise_dim=50)
PAPER.update(batch_size=256, num_samples=50, policy_num_samples=50)
PAPER.update(world_model_hidden_sizes=(512, 512, 512))
_STAGE_SIZES = {'paper size': PAPER, 'default size': {}}
STAGES = ('world model', 'target', 'critic', 'policy', 'optimizers and Polyak')


def _samples(number):
  return dict(num_samples=number, policy_num_samples=number)


# Label: environment, config. One thing at a time changes from the paper's size.
GROWTH = {
  **{f'M {m}': ('walker', {**PAPER, **_samples(m)}) for m in (10, 25, 50, 100)},
  **{f'batch {b}': ('walker', {**PAPER, 'batch_size': b}) for b in (64, 128, 512)},
  **{env: (env, PAPER) for env in ('cartpole', 'humanoid', 'dog')},
  'state and action': ('walker', {**PAPER, 'agent': 'dsdpg_state_action'}),
}


def make_spec(env):
  """The spec of an environment of `SIZES`."""
  observation_size, action_size = SIZES[env]
  return specs.EnvironmentSpec(
    observations=specs.Array((observation_size,), np.float32),
    actions=specs.BoundedArray((action_size,), np.float32, -1.0, 1.0),
    rewards=specs.Array((), np.float32),
    discounts=specs.BoundedArray((), np.float32, 0.0, 1.0),
  )


def make_transition(env, config, dtype=tf.float32):
  """A batch of random N-step transitions."""
  observation_size, action_size = SIZES[env]
  rng = np.random.default_rng(0)
  normal = lambda *shape: tf.constant(rng.normal(size=shape), dtype)
  outcome = lambda: agent_adders.Outcome(
    normal(config.batch_size),
    tf.ones([config.batch_size], dtype),
    normal(config.batch_size, observation_size),
  )
  n_step = outcome()
  return types.Transition(
    observation=normal(config.batch_size, observation_size),
    action=tf.tanh(normal(config.batch_size, action_size)),
    reward=n_step.reward,
    discount=n_step.discount,
    next_observation=n_step.next_observation,
    extras=outcome() if config.one_step_model else (),
  )


def make_learner(kind, env, config, dtype=tf.float32):
  """A `DSDPGLearner` or `PlainLearner`; the same weights for the same config."""
  networks, targets = (
    networks_lib.make_networks(make_spec(env), config, 0, dtype) for _ in range(2)
  )
  return kind(networks, targets.policy, targets.critic, config, iterator=iter(()))


def make_stages(learner, transition):
  """The step and its stages as compiled functions by name."""
  compiled = lambda f: tf.function(f, jit_compile=True, autograph=False)
  batch, seeds = learner._prepare(transition), learner._draw_seeds()
  target = compiled(learner._bellman_target)(batch, seeds)
  # Given as arguments, nothing is known when compiling.
  functions = {
    'target': (learner._bellman_target, batch, seeds),
    'critic': (learner._critic_gradients, batch, target, seeds.critic),
    'policy': (learner._policy_gradients, batch, seeds.policy),
  }
  if 'world_model' in learner._trainable:
    functions['world model'] = (learner._world_model_gradients, batch, seeds.model)
  gradients = {
    name: [tf.ones_like(v) for v in variables]
    for name, variables in learner._trainable.items()
  }

  def apply(gradients):
    for name, values in gradients.items():
      learner._apply(name, values, {}, {'skipped': tf.constant(False)})
    learner._update_target_networks()

  functions['optimizers and Polyak'] = (apply, gradients)
  result = {
    name: functools.partial(compiled(function), *arguments)
    for name, (function, *arguments) in functions.items()
  }
  result['step'] = lambda: learner._update(transition)
  return result


def arithmetic(env, config):
  """The least matrix products of each stage in its factored form, in GFLOP.

  Two operations a multiply-add. What samples share is counted once a state, Jacobians
  as A (or S + A) tangents with one primal, or M cotangents if those are fewer, and no
  gradient that nothing uses.
  Element-wise work, kernels and noise count nothing. For the agents of samples.
  """
  assert config.critic == 'samples'
  assert config.num_samples == config.policy_num_samples
  assert len(config.hidden_sizes) == 2
  s, a = SIZES[env]
  b, m, k = config.batch_size, config.num_samples, config.noise_dim
  h = config.hidden_sizes[0]
  w = config.world_model_hidden_sizes[0]
  z = s + 1  # Latent and outcome.
  x = {'none': 0, 'action': a, 'state_action': s + a}[config.sobolev]
  n = b * m

  policy = 2 * s * h + h * h + h * a
  forward = b * 2 * (s + a) * h + n * (2 * k * h + h * h + h)

  def input_gradient(columns):
    return n * (h * h + 2 * columns * h)

  weight_gradient = n * (2 * h * h + 2 * k * h + 2 * h) + b * 2 * (s + a) * h
  # The gradient's own gradient: back through it, and into the two kernels it uses.
  second = 2 * input_gradient(x) if x else 0
  encoder_input, decoder_input = 2 * s + a + 1, s + a + z
  encoder = 3 * encoder_input * w + 2 * w * w + 2 * w * z
  decoder = 3 * decoder_input * w + 2 * w * w + w * z
  model_inputs = 3 * encoder_input * w + 3 * (s + a) * w  # No gradient wanted.
  jacobian = min(x, m) * (2 * w * w + w * z + policy) + (3 * m * x * w if m < x else 0)
  products = {
    'world model': b * (3 * (encoder + decoder) - model_inputs),
    'target': b * (encoder + decoder + policy + jacobian)
    + forward
    + (input_gradient(s + a) if x else 0)
    + (n * (s + a) * x if m >= x else 0)
    # The return of N steps beside the gradient of one.
    + (b * policy + forward if config.one_step_model else 0),
    'critic': forward + (input_gradient(x) if x else 0) + weight_gradient + second,
    'policy': b * (3 * policy - 2 * s * h) + forward + n * h * h + b * 2 * a * h,
    'optimizers and Polyak': 0,
  }
  products['step'] = sum(products.values())
  return {name: 2e-9 * value for name, value in products.items()}


def in_turn(functions, repeats):
  """Median (CPU, wall) seconds of each function by name, in turn, after one go."""
  times = {name: [] for name in functions}
  for i in range(repeats + 1):
    for name, function in functions.items():
      cpu, wall = time.process_time(), time.perf_counter()
      function()
      if i:
        times[name].append((time.process_time() - cpu, time.perf_counter() - wall))
  return {k: tuple(map(statistics.median, zip(*v))) for k, v in times.items()}


def matrix_product(size=1024):
  """A float32 matrix product as a function, and its GFLOP."""
  x = tf.random.normal([size, size])
  function = tf.function(lambda: tf.matmul(x, x), jit_compile=True)
  return function, 2e-9 * size**3


def compare_stages(label, env, config, repeats):
  """Prints and returns stages and step: plain, ours, arithmetic, share of the limit."""
  transition = make_transition(env, config)
  kinds = {'plain': plain.PlainLearner, 'ours': learning.DSDPGLearner}
  functions = {}
  for kind, cls in kinds.items():
    stages = make_stages(make_learner(cls, env, config), transition)
    functions.update({(kind, name): function for name, function in stages.items()})
  product, product_gflop = matrix_product()
  functions['product'] = product
  times = in_turn(functions, repeats)
  rate = product_gflop / times.pop('product')[0]
  gflop = arithmetic(env, config)
  result = {'GFLOP per CPU-second': rate}
  print(f'\n{label}: {env}, batch {config.batch_size}, M {config.num_samples}')
  print(f'  matrix product: {rate:.1f} GFLOP per CPU-second')
  print(
    f'  {"":22} {"plain":>15} {"ours":>15} {"ratio":>10} {"GFLOP":>7} {"of limit":>8}'
  )
  print(f'  {"":22} {"CPU   wall ms":>15} {"CPU   wall ms":>15}')
  for name in (*STAGES, 'step'):
    if ('ours', name) not in times:
      continue
    old, new = times['plain', name], times['ours', name]
    share = gflop[name] / rate / new[0]
    result[name] = dict(
      plain_cpu=old[0], plain_wall=old[1], ours_cpu=new[0], ours_wall=new[1],
      speedup=old[0] / new[0], gflop=gflop[name], share_of_limit=share,
    )  # fmt: skip
    ms = [f'{1e3 * cpu:.1f} {1e3 * wall:7.1f}' for cpu, wall in (old, new)]
    print(
      f'  {name:22} {ms[0]:>15} {ms[1]:>15} {old[0] / new[0]:10.2f} '
      f'{gflop[name]:7.2f} {share:8.0%}'
    )
  return result


def push_tangents(decoder, inputs, first, number):
  """A decoder's output and its tangents by columns of the input, written by hand.

  One primal, [B, W], beside `number` tangents, [number, B, W]: what forward mode must
  at least do. The input's tangents are unit vectors, so kernels' rows.

  Args:
    decoder: `layers.MLP` with norms after.
    inputs: [B, D].
    first: the first column.
    number: columns.
  """
  h, dh = None, None
  for layer, norm in zip(decoder._hidden, decoder._norms):
    by_input = layer.kernel[-inputs.shape[-1] :]
    u = tf.matmul(inputs, by_input) + layer.bias
    du = by_input[first : first + number][:, tf.newaxis]
    if h is not None:
      kernel = layer.kernel[: h.shape[-1]]
      u += tf.matmul(h, kernel)
      rows = tf.reshape(dh, [-1, h.shape[-1]])
      du += tf.reshape(tf.matmul(rows, kernel), [number, *u.shape])
    sigmoid = tf.sigmoid(u)
    swish = u * sigmoid
    df = (sigmoid + swish * (1.0 - sigmoid)) * du
    mean = lambda x: tf.reduce_mean(x, axis=-1, keepdims=True)
    centred, dcentred = swish - mean(swish), df - mean(df)
    scale = tf.math.rsqrt(mean(centred**2) + 1e-5)
    dscale = -(scale**3) * mean(centred * dcentred)
    h = centred * scale * norm.scale + norm.offset
    dh = (dcentred * scale + centred * dscale) * norm.scale
  rows = tf.matmul(tf.reshape(dh, [-1, h.shape[-1]]), decoder._output.kernel)
  return decoder._output(h), tf.reshape(rows, [number, h.shape[0], -1])


def compare_jacobian(env, config, repeats, wrt='action'):
  """Prints and returns the decoder's Jacobian's time beside the least there is to do.

  That of `push_tangents`, one for each coordinate of `wrt`, and of reverse mode, one
  cotangent for each of [R ; s+]. `wrt`: 'action' or 'state_action'.
  """
  learner = make_learner(learning.DSDPGLearner, env, config)
  batch = learner._prepare(make_transition(env, config))
  model = learner._networks.world_model
  latent = learner._latent(batch, tf.constant([0, 0]))
  observation_size, action_size = SIZES[env]
  first = observation_size if wrt == 'action' else 0
  columns = observation_size + action_size - first
  inputs = tf.concat([batch.observation, batch.action], axis=-1)

  def outcome(x):
    s, a = tf.split(
      tf.concat([inputs[:, :first], x], -1), [observation_size, action_size], -1
    )
    reward, next_observation = model.decode(s, a, latent)
    return tf.concat([reward[:, tf.newaxis], next_observation], -1)

  @tf.function(jit_compile=True, autograph=False)
  def ours():
    return sobolev.value_and_jacobian(outcome, inputs[:, first:])[1]

  @tf.function(jit_compile=True, autograph=False)
  def pushed():
    every_input = tf.concat([inputs, latent], axis=-1)
    return push_tangents(model._decoder, every_input, first, columns)

  @tf.function(jit_compile=True, autograph=False)
  def reverse():
    x = inputs[:, first:]
    with tf.GradientTape() as tape:
      tape.watch(x)
      value = outcome(x)
    return tape.batch_jacobian(value, x)

  # By hand without s^ = s + delta's own s.
  skip = np.eye(columns, 1 + observation_size, k=1) if wrt == 'state_action' else 0.0
  for other in (
    tf.transpose(pushed()[1], [1, 0, 2]) + skip,
    tf.linalg.matrix_transpose(reverse()),
  ):
    np.testing.assert_allclose(ours(), other, rtol=1e-3, atol=1e-5)
  functions = {'ours': ours, 'pushed': pushed, 'reverse': reverse}
  times = {k: v[0] for k, v in in_turn(functions, repeats).items()}
  ratio = times['ours'] / times['pushed']
  print(
    f"\nDecoder's Jacobian, {wrt}, {env}, batch {config.batch_size}: "
    f'{1e3 * times["ours"]:.1f} ms CPU; {columns} tangents pushed by hand '
    f'{1e3 * times["pushed"]:.1f}; ratio {ratio:.2f}; {1 + observation_size} cotangents '
    f'in reverse mode {1e3 * times["reverse"]:.1f}'
  )
  return {**times, 'ratio': ratio}


def acme_learners(env, batch_size):
  """Acme's D4PG and DDPG learners at D4PG's default networks, as step functions."""
  config = config_lib.make_config(dict(agent='ddpg', batch_size=batch_size)).dsdpg
  sample = reverb.ReplaySample(
    info=reverb.SampleInfo(*[tf.zeros([batch_size])] * len(reverb.SampleInfo._fields)),
    data=make_transition(env, config),
  )
  dataset = tf.data.Dataset.from_tensors(sample).cache().repeat()
  spec = make_spec(env)
  action_size = spec.actions.shape[0]

  def networks(distributional):
    nets = d4pg_networks.make_default_networks(spec.actions)
    if not distributional:
      nets['critic'] = snt.Sequential(
        [
          acme_networks.CriticMultiplexer(),
          acme_networks.LayerNormMLP((512, 512, 256), activate_final=True),
          acme_networks.NearZeroInitializedLinear(1),
        ]
      )
    observation = tf.zeros([1, *spec.observations.shape])
    nets['critic'](observation, tf.zeros([1, action_size]))
    nets['policy'](observation)
    return nets

  def learner(cls, distributional):
    online, target = networks(distributional), networks(distributional)
    made = cls(
      policy_network=online['policy'],
      critic_network=online['critic'],
      target_policy_network=target['policy'],
      target_critic_network=target['critic'],
      discount=0.99,
      target_update_period=100,
      logger=loggers.NoOpLogger(),
      checkpoint=False,
      **(
        dict(dataset_iterator=iter(dataset)) if distributional else dict(dataset=dataset)
      ),
    )
    # Not the bound method: it would not keep the learner alive.
    return lambda: made._step()

  return {
    "Acme's D4PG": learner(d4pg.D4PGLearner, True),
    "Acme's DDPG": learner(ddpg.DDPGLearner, False),
  }


def compare_agents(batch_size, repeats):
  """Prints and returns whole steps of several agents at one batch size, walker."""
  functions = acme_learners('walker', batch_size)
  for agent in ('ddpg', 'ddpg_mmd', 'dsdpg', config_lib.DEFAULT_AGENT):
    config = config_lib.make_config(dict(agent=agent, batch_size=batch_size)).dsdpg
    learner = make_learner(learning.DSDPGLearner, 'walker', config)
    transition = make_transition('walker', config)
    functions[agent] = lambda learner=learner, transition=transition: learner._update(
      transition
    )
  times = in_turn(functions, repeats)
  print(f'\nWhole step, walker, batch {batch_size}, the defaults (M 10)')
  for name, (cpu, wall) in times.items():
    multiple = cpu / times['ddpg'][0]
    print(f"  {name:22} {1e3 * cpu:8.1f} {1e3 * wall:8.1f} ms {multiple:6.1f} x ddpg's")
  return {name: dict(cpu=cpu, wall=wall) for name, (cpu, wall) in times.items()}


def growth(repeats):
  """Prints and returns the whole step, plain and ours, as sizes grow."""
  print('\nWhole step as sizes grow, CPU ms (the rest as at the paper size)')
  result = {}
  for label, (env, overrides) in GROWTH.items():
    config = config_lib.make_config(overrides).dsdpg
    transition = make_transition(env, config)
    functions = {}
    for name, kind in (('plain', plain.PlainLearner), ('ours', learning.DSDPGLearner)):
      learner = make_learner(kind, env, config)
      functions[name] = lambda learner=learner: learner._update(transition)
    times = {k: v[0] for k, v in in_turn(functions, repeats).items()}
    result[label] = times
    print(
      f'  {label:18} plain {1e3 * times["plain"]:8.0f}  ours {1e3 * times["ours"]:8.0f}'
      f'  {times["plain"] / times["ours"]:6.2f}',
      flush=True,
    )
  return result


def differences(env, config):
  """How far target, gradients and losses are from the plain form's, in float64.

  The largest difference in a tensor over its largest entry, by stage.
  """
  outputs = []
  transition = make_transition(env, config, tf.float64)
  for kind in (plain.PlainLearner, learning.DSDPGLearner):
    learner = make_learner(kind, env, config, tf.float64)
    seeds, batch = learner._draw_seeds(), learner._prepare(transition)

    @tf.function(autograph=False)
    def stages(learner=learner, seeds=seeds, batch=batch):
      target = learner._bellman_target(batch, seeds)
      return {
        'target': [target],
        'world model': learner._world_model_gradients(batch, seeds.model),
        'critic': learner._critic_gradients(batch, target, seeds.critic),
        'policy': learner._policy_gradients(batch, seeds.policy),
      }

    outputs.append({k: tf.nest.flatten(v) for k, v in stages().items()})

  def relative(x, y):
    return np.max(np.abs(x - y)) / max(np.max(np.abs(x)), np.finfo(np.float64).tiny)

  return {
    name: float(
      np.max([relative(x.numpy(), y.numpy()) for x, y in zip(outputs[0][name], values)])
    )
    for name, values in outputs[1].items()
  }


def equal():
  """Prints and returns the differences at every size measured."""
  print('\nLargest relative difference of losses and gradients from plain, float64')
  result = {}
  sizes = {**GROWTH, 'default': ('walker', {})}
  both = {f'{k}, action': v for k, v in sizes.items() if k != 'state and action'}
  for label, (env, overrides) in list(both.items()):
    with_state = {**overrides, 'agent': 'dsdpg_state_action'}
    both[label.replace('action', 'state and action')] = env, with_state
  for label, (env, overrides) in both.items():
    result[label] = differences(env, config_lib.make_config(overrides).dsdpg)
    figures = '  '.join(f'{name} {value:.0e}' for name, value in result[label].items())
    print(f'  {label:28} {figures}', flush=True)
    if not all(value < 1e-8 for value in result[label].values()):
      sys.exit(f'{label}: ours is not what the plain form computes.')
  return result


def main():
  """Measures the chosen parts."""
  output = command_line.output_path(_OUTPUT) if _OUTPUT.value else None
  tf.config.threading.set_intra_op_parallelism_threads(_NUM_THREADS.value)
  tf.config.threading.set_inter_op_parallelism_threads(_NUM_THREADS.value)
  result = {
    'machine': f'{platform.machine()}, {os.cpu_count()} cores',
    'tensorflow': tf.__version__,
    'num_threads': _NUM_THREADS.value,
    'xla_flags': os.environ['XLA_FLAGS'],
  }
  parts = {
    'compile': compiling,
    'stages': stages,
    'jacobian': lambda repeats: {
      wrt: compare_jacobian('walker', _config(PAPER), repeats, wrt)
      for wrt in ('action', 'state_action')
    },
    'agents': lambda repeats: compare_agents(_config({}).batch_size, repeats),
    'equal': lambda repeats: equal(),
    'growth': lambda repeats: growth(max(3, repeats // 3)),
  }
  for name, part in parts.items():
    if name not in _PART.value:
      continue
    result[name] = part(_REPEATS.value)
    if output:
      with open(output, 'w', encoding='utf-8') as file:
        json.dump(result, file, indent=2)
        file.write('\n')


def compiling(repeats):
  """Prints and returns seconds to compile the step, under the XLA_FLAGS there are."""
  print(f'\nXLA_FLAGS={os.environ["XLA_FLAGS"]}: CPU seconds to compile, step in ms')
  result = {}
  for label, overrides in _STAGE_SIZES.items():
    learner = make_learner(learning.DSDPGLearner, 'walker', _config(overrides))
    transition = make_transition('walker', _config(overrides))
    update = lambda learner=learner, transition=transition: learner._update(transition)
    start = time.process_time()
    update()
    first = time.process_time() - start
    step = in_turn({'step': update}, 5 * repeats)['step'][0]
    print(f'  {label:14} {first - step:8.1f} {1e3 * step:8.1f}', flush=True)
    result[label] = dict(compile=first - step, step=step)
  return result


def stages(repeats):
  """`compare_stages` at the paper's size and at the project's default."""
  return {
    label: compare_stages(label, 'walker', _config(overrides), repeats)
    for label, overrides in _STAGE_SIZES.items()
  }


def _config(overrides):
  return config_lib.make_config(overrides).dsdpg


if __name__ == '__main__':
  command_line.run(main)
