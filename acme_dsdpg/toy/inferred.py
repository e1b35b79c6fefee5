"""Gradients inferred through a cVAE's reconstructions (A.6, Fig. 6).

The model is the agent's world model without a state: x is its action, y its reward. It
is trained on y alone.
"""

from typing import Sequence, Tuple

import tensorflow as tf

from acme_dsdpg import networks
from acme_dsdpg.agent import optimizers
from acme_dsdpg.losses import cvae
from acme_dsdpg.toy import problem

HIDDEN_SIZES = (256, 256)  # As the other networks of the toy problem.
LEARNING_RATE = 3e-4  # A.8, as for the world model.
KL_WEIGHT = 0.1


class GradientInference(tf.Module):
  """cVAEs of y given x, one a seed, trained together."""

  def __init__(
    self,
    num_models: int,
    hidden_sizes: Sequence[int] = HIDDEN_SIZES,
    jit_compile: bool = True,
  ):
    super().__init__(name='gradient_inference')
    self._models = [
      networks.WorldModel((0, 1), hidden_sizes, seed) for seed in range(num_models)
    ]
    self._optimizers = []
    for model in self._models:
      one = tf.zeros([1, 1])
      model(one[:, :0], one, one[:, 0], one[:, :0])
      self._optimizers.append(optimizers.Adam(model.trainable_variables, LEARNING_RATE))
    self.num_steps = tf.Variable(0, dtype=tf.int32, name='num_steps')
    self._updates = [
      _make_update(*pair, jit_compile) for pair in zip(self._models, self._optimizers)
    ]
    self.step = tf.function(self._step, autograph=False)

  def _step(self, x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """Takes one step of every model on x [E, B, 1] and y [E, B, N]; the losses, [E]."""
    seeds = [tf.stack([i, self.num_steps]) for i in range(x.shape[0])]
    batches = zip(self._updates, tf.unstack(x), tf.unstack(y), seeds)
    losses = [update(*batch) for update, *batch in batches]
    self.num_steps.assign_add(1)
    return tf.stack(losses)

  def reconstruct(self, x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """Reconstructs y, and infers gradients from that.

    Args:
      x: [B, 1].
      y: [B, N], to be encoded.

    Returns:
      [y^ ; dy^/dx] of every model, [E, B, N, 2]: the decoder's mean at a latent drawn
      from q(eps | y; x), and its derivative with that latent held fixed.
    """
    rows, values = _rows(x, y)
    results = []
    for i, model in enumerate(self._models):
      latent = tf.stop_gradient(_encode(model, rows, values).sample(seed=[i, -1]))
      with tf.GradientTape() as tape:
        tape.watch(rows)
        value, _ = model.decode(rows[:, :0], rows, latent)
      result = tf.concat([value[:, tf.newaxis], tape.gradient(value, rows)], axis=-1)
      results.append(tf.reshape(result, [*y.shape, 2]))
    return tf.stack(results)


def errors(
  model: GradientInference, x: tf.Tensor, num_draws: int
) -> Tuple[tf.Tensor, tf.Tensor]:
  """Computes the mean squared errors of y^ and of dy^/dx over the modes at each x [B, 1].

  Where the modes cross, y does not tell them apart: the best that can be inferred is
  the conditional mean 2 cos x, whose error is the modes' variance, 2 cos^2 x.

  Args:
    model: trained.
    x: [B, 1].
    num_draws: latents drawn for each x and mode.

  Returns:
    [E, B] each.
  """
  true = problem.modes(x)
  target = tf.concat([true.y[..., tf.newaxis], true.dy_dx], axis=-1)
  target = tf.repeat(target, num_draws, axis=1)
  drawn = model.reconstruct(x, tf.repeat(true.y, num_draws, axis=1))
  squared = tf.math.squared_difference(drawn, target)
  return tuple(tf.unstack(tf.reduce_mean(squared, axis=2), axis=-1))


def _make_update(model: networks.WorldModel, optimizer, jit_compile: bool):
  """Makes a model's step, on pairs of x and y."""

  @tf.function(jit_compile=jit_compile, autograph=False)
  def update(x, y, seed):
    rows, values = _rows(x, y)
    nothing = rows[:, :0]
    with tf.GradientTape() as tape:
      loss = cvae.cvae_loss(
        _encode(model, rows, values),
        model.prior(),
        lambda latent: model.decode(nothing, rows, latent),
        values,
        nothing,
        KL_WEIGHT,
        seed,
      ).loss
    optimizer.apply(tape.gradient(loss, model.trainable_variables))
    return loss

  return update


def _rows(x: tf.Tensor, y: tf.Tensor) -> Tuple[tf.Tensor, tf.Tensor]:
  """Pairs of x [B, 1] and y [B, N]: [B * N, 1] and [B * N]."""
  return tf.repeat(x, y.shape[-1], axis=0), tf.reshape(y, [-1])


def _encode(model: networks.WorldModel, x: tf.Tensor, y: tf.Tensor):
  return model.encode(x[:, :0], x, y, x[:, :0])
