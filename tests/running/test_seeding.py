"""Seeds, and TensorFlow's threads."""

import tensorflow as tf

from acme_dsdpg.agent import presets
from acme_dsdpg.running import nodes, seeding


def test_seeds_that_are_derived_differ_and_the_first_is_the_runs():
  assert seeding.derive_seed(7) == seeding.derive_seed(7, 0, 0) == 7
  parts = [(a, b) for a in range(4) for b in range(4)]
  derived = [seeding.derive_seed(seed, *part) for seed in range(4) for part in parts]
  assert len(set(derived)) == len(derived)
  assert all(0 <= seed < 2**63 for seed in derived)


def test_no_two_actors_of_runs_whose_seeds_follow_each_other_share_a_seed():
  seeds = [
    nodes.actor_seed(seed, index, steps, number)
    for seed in range(5)
    for index in range(4)
    for steps in (0, 100)
    for number in range(3)
  ]
  assert len(set(seeds)) == len(seeds)


def test_once_tensorflow_computes_its_threads_stay_and_a_line_says_so(capsys):
  tf.constant(1.0).numpy()
  before = tf.config.threading.get_intra_op_parallelism_threads()
  config = presets.make_config({'num_threads': before + 3})
  seeding.set_up_tensorflow(config, seed=5)
  assert tf.config.threading.get_intra_op_parallelism_threads() == before
  out = capsys.readouterr().out
  assert out.startswith(f'WARNING: num_threads={before + 3} has no effect')
  first = tf.random.uniform([3]).numpy()
  # The seed is set all the same.
  seeding.set_up_tensorflow(config, seed=5)
  assert (tf.random.uniform([3]).numpy() == first).all()


def test_as_many_threads_as_before_are_no_news(capsys):
  tf.constant(1.0).numpy()
  before = tf.config.threading.get_intra_op_parallelism_threads()
  seeding.set_up_tensorflow(presets.make_config({'num_threads': before}), seed=5)
  assert not capsys.readouterr().out
