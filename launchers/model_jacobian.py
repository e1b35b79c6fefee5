"""Is the world model's derivative right? It is compared with the simulator's.

Acts with a run's policy and exploration noise, trains the cVAE on the transitions as
the learner would, and compares d(s+, R)/da of held-out transitions, at the inferred
latent, with central finite differences in MuJoCo: the physics is set back to the state,
the action is moved, and the later actions of an N-step transition are replayed.
"""

import csv
import dataclasses
import itertools
import sys

from acme_dsdpg.running import quiet

quiet.silence()

from absl import flags
import numpy as np
import tensorflow as tf

import acme_dsdpg
from acme_dsdpg import networks as networks_lib
from acme_dsdpg.analysis import simulation
from acme_dsdpg.losses import cvae
from acme_dsdpg.running import command_line, run_directory

_N_STEPS = flags.DEFINE_list('n_steps', ['1', '3', '5'], 'Horizons of the model.')
_NUM_TRANSITIONS = flags.DEFINE_integer('num_transitions', 30_000, 'Steps acted.', 1)
_NUM_TESTS = flags.DEFINE_integer('num_tests', 150, 'Transitions compared.', 1)
_UPDATES = flags.DEFINE_list('updates', ['500', '1000', '2000', '4000'], 'When.')
_KL_WEIGHTS = flags.DEFINE_list('kl_weights', [], "Of the cVAE; by default the run's.")
_NORMALIZE = flags.DEFINE_boolean(
  'normalize_outcomes', None, "Whether outcomes are standardised; by default the run's."
)
_BATCH_SIZE = flags.DEFINE_integer('batch_size', 64, 'Transitions an update.', 1)
_OUTPUT = flags.DEFINE_string('output', None, 'CSV file for the figures.')

_HELD_OUT = 0.1  # Of the transitions, the last ones.
_STEP = 0.1  # Of the finite differences, actions in [-1, 1].


def collect(simulator, policy, sigma, number, seed=0):
  """Acts; returns arrays observation, action, reward, episode, and the states."""
  environment, rng = simulator.environment, np.random.default_rng(seed)
  rows, states, episode = [], [], 0
  timestep = environment.reset()
  for _ in range(number):
    states.append(simulator.state())
    mean = policy(timestep.observation)
    noise = sigma * rng.normal(size=mean.shape)
    action = np.clip(mean + noise, -1, 1).astype(np.float32)
    observation = timestep.observation
    timestep = environment.step(action)
    rows.append((observation, action, timestep.reward, episode))
    if timestep.last():
      timestep, episode = environment.reset(), episode + 1
  return [np.array(column) for column in zip(*rows)], states


def true_jacobians(simulator, states, actions, discount, scale):
  """[T, A, 1 + S] by central differences; observations divided by `scale`."""
  result = []
  for state, chosen in zip(states, actions):
    by_action = []
    for direction in np.eye(chosen.shape[-1]):
      moved = np.zeros_like(chosen, dtype=np.float64)
      moved[0] = _STEP * direction
      difference = simulator.outcome(state, chosen + moved, discount) - simulator.outcome(
        state, chosen - moved, discount
      )
      by_action.append(difference / (2 * _STEP))
    result.append(by_action)
  result = np.array(result)
  result[..., 1:] /= scale
  return result


def compare(n_step, kl_weight, checks, data, states, simulator, config):
  """Trains a model of `n_step` steps; yields a row after each number of updates."""
  observation, action, reward, episode = data
  mean, scale = observation.mean(0), np.sqrt(observation.var(0) + 1e-6)
  normal = ((observation - mean) / scale).astype(np.float32)
  starts = np.arange(len(action) - n_step)
  starts = starts[episode[starts] == episode[starts + n_step]]
  if not len(starts):
    sys.exit(f'No episode has the {n_step} steps of n_steps.')
  gammas = config.discount ** np.arange(n_step)
  returns = sum(g * reward[starts + i] for i, g in enumerate(gammas)).astype(np.float32)
  rows = [normal[starts], action[starts], returns, normal[starts + n_step]]
  num_train = int((1 - _HELD_OUT) * len(starts))
  train = [tf.constant(x[:num_train]) for x in rows]

  rng = np.random.default_rng(1)
  # Well within the bounds, so that no difference is clipped.
  inside = np.flatnonzero(np.all(np.abs(action[starts]) < 1 - _STEP, axis=1))
  held_out = inside[inside >= num_train + n_step]
  if len(held_out) < _NUM_TESTS.value:
    sys.exit(f'Only {len(held_out)} held-out actions are not at their bounds.')
  chosen = rng.choice(held_out, _NUM_TESTS.value, replace=False)
  chosen_actions = [action[starts[i] : starts[i] + n_step] for i in chosen]
  chosen_states = [states[starts[i]] for i in chosen]
  again = simulator.outcome(chosen_states[0], chosen_actions[0], config.discount)[1:]
  error = np.max(np.abs(again - observation[starts[chosen[0]] + n_step]))
  if error > 1e-4:
    sys.exit(f'The simulator does not replay this task: off by {error:.2g}.')
  truth = true_jacobians(simulator, chosen_states, chosen_actions, config.discount, scale)
  test = [tf.constant(x[chosen]) for x in rows]

  model = networks_lib.WorldModel(
    normal.shape[1], config.world_model_hidden_sizes, 0, config.normalize_outcomes
  )
  model.observe(train[0], train[2], train[3])
  model(test[0], test[1], test[2], test[3])
  optimizer = tf.keras.optimizers.Adam(config.world_model_learning_rate)
  optimizer._create_all_weights(model.trainable_variables)

  @tf.function(jit_compile=True, autograph=False)
  def update(seed):
    shape = [_BATCH_SIZE.value]
    indices = tf.random.stateless_uniform(shape, seed, 0, num_train, tf.int32)
    s, a, r, next_s = (tf.gather(x, indices) for x in train)
    with tf.GradientTape() as tape:
      losses = cvae.cvae_loss(
        model.encode(s, a, r, next_s),
        model.prior(),
        lambda latent: model.predict_outcome(s, a, latent),
        *model.outcome(s, r, next_s),
        kl_weight,
        seed + 1,
      )
    gradients = tape.gradient(losses.loss, model.trainable_variables)
    optimizer.apply_gradients(zip(gradients, model.trainable_variables))
    return losses

  @tf.function(autograph=False)
  def jacobian():
    s, a, r, next_s = test
    latent = model.encode(s, a, r, next_s).mean()
    with tf.GradientTape() as tape:
      tape.watch(a)
      reward, next_state = model.decode(s, a, latent)
      outcome = tf.concat([reward[:, tf.newaxis], next_state], 1)
    return tf.linalg.matrix_transpose(tape.batch_jacobian(outcome, a))

  for i in range(1, max(checks) + 1):
    losses = update(tf.constant([i, 0]))
    if i in checks:
      learned = jacobian().numpy()
      yield {
        'n_step': n_step,
        'kl_weight': kl_weight,
        'updates': i,
        'reconstruction_error': float(losses.reconstruction),
        'kl': float(losses.kl),
        **agreement(learned[..., 1:], truth[..., 1:], 'state'),
        **agreement(learned[..., :1], truth[..., :1], 'reward'),
      }


def agreement(learned, truth, name):
  """Median cosine and ratio of norms of Jacobians, [T, A, Y]; and the slope.

  The slope is that of the least-squares line through the origin over all entries.
  """
  norm = lambda x: np.sqrt(np.sum(x**2, axis=(1, 2)))
  products = np.sum(learned * truth, axis=(1, 2))
  return {
    f'{name}_cosine': np.median(products / (norm(learned) * norm(truth) + 1e-12)),
    f'{name}_norm_ratio': np.median(norm(learned) / (norm(truth) + 1e-12)),
    f'{name}_slope': np.sum(products) / np.sum(truth**2),
  }


def main(workdir):
  """Compares and prints a row for each horizon and number of updates."""
  output = command_line.output_path(_OUTPUT) if _OUTPUT.value else None
  n_steps = command_line.positive_integers(_N_STEPS)
  checks = command_line.positive_integers(_UPDATES)
  run = run_directory.load(workdir)
  kl_weights = command_line.numbers(_KL_WEIGHTS) or [run.dsdpg.kl_weight]
  for value in kl_weights:
    dataclasses.replace(run.dsdpg, kl_weight=value)  # Checked as the learner's.
  config = run.dsdpg
  if _NORMALIZE.value is not None:
    config = dataclasses.replace(config, normalize_outcomes=_NORMALIZE.value)
  tf.config.threading.set_intra_op_parallelism_threads(1)
  policy = acme_dsdpg.load_policy(workdir)
  simulation.check_config(run)
  simulator = simulation.Simulator(run.env, run.task)
  data, states = collect(simulator, policy, run.dsdpg.sigma, _NUM_TRANSITIONS.value)
  print(f'{run.env}: mean return {1000 * np.mean(data[2]):.0f} with exploration noise')
  rows = []
  for n_step, kl_weight in itertools.product(n_steps, kl_weights):
    for row in compare(n_step, kl_weight, checks, data, states, simulator, config):
      rows.append({k: round(float(v), 3) for k, v in row.items()})
      print('  '.join(f'{k} {v:g}' for k, v in rows[-1].items()), flush=True)
  if output:
    with open(output, 'w', newline='', encoding='utf-8') as file:
      writer = csv.DictWriter(file, rows[0])
      writer.writeheader()
      writer.writerows(rows)


if __name__ == '__main__':
  command_line.run(main, 'one run directory')
