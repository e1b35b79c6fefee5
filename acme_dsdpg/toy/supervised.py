"""Sobolev training on samples of a random function and of its gradient.

For problems other than reinforcement learning: wherever values and input gradients of a
function, random or not, can be sampled. The samples, kernels and losses are the agent's.
"""

from typing import Callable, Optional, Sequence, Tuple

import tensorflow as tf

from acme_dsdpg.agent import metrics as metrics_lib
from acme_dsdpg.agent import optimizers
from acme_dsdpg.losses import critic as critic_losses
from acme_dsdpg.losses import kernels, mmd, sobolev
from acme_dsdpg.networks import layers
from acme_dsdpg.networks.critic import FunctionCritic

# x [N, X] and noise [N, K] to [N], each row by itself; K may be 0.
Generator = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


class MLPGenerator(tf.keras.Model):
  """f(x, xi): noise beside the input of a plain Swish MLP (A.7)."""

  def __init__(
    self,
    input_size: int,
    noise_dim: int,
    hidden_sizes: Sequence[int] = (256, 256),
    seed: int = 0,
    **kwargs,
  ):
    """Builds the network.

    Args:
      input_size: X.
      noise_dim: K; 0 makes a deterministic function.
      hidden_sizes: of the hidden layers.
      seed: of the initial weights.
      **kwargs: of `tf.keras.Model`.
    """
    super().__init__(**kwargs)
    self._mlp = layers.MLP(
      hidden_sizes, 1, seed, skips=False, dtype=self.dtype, name='mlp'
    )
    self(tf.zeros([1, input_size], self.dtype), tf.zeros([1, noise_dim], self.dtype))

  def call(self, x, noise):
    return self._mlp(tf.concat([x, noise], axis=-1))[:, 0]


class SobolevTrainer(tf.Module):
  """Fits generators to samples, by MMD with a kernel or by squared error without.

  Several independent models (seeds, say) are trained together, each on its own data or
  all on the same.
  """

  def __init__(
    self,
    generators: Sequence[Generator],
    kernel: Optional[kernels.Kernel] = None,
    num_samples: int = 1,
    noise_dim: int = 0,
    use_gradients: bool = True,
    learning_rate: float = 1e-3,
    betas: Tuple[float, float] = (0.5, 0.9),
    seed: int = 0,
    jit_compile: bool = True,
  ):
    """Initializes the trainer; its defaults are A.7's.

    Args:
      generators: Keras models, built, of one float type; see `Generator`.
      kernel: of the MMD on [y ; dy/dx] (Eq. 22, biased). None is the squared error
        (Eq. 10), a regression on the conditional expectation.
      num_samples: M, samples of a generator at each x; 1 for a regression.
      noise_dim: K; 0 for a regression.
      use_gradients: train on the gradient as well as on the value.
      learning_rate: of Rectified Adam.
      betas: of Rectified Adam.
      seed: of the noise. It is another one for each model and step, whatever came
        before.
      jit_compile: compile with XLA.

    Raises:
      ValueError: no generator, or counts that cannot be.
    """
    super().__init__(name='sobolev_trainer')
    if not generators:
      raise ValueError('generators is empty: at least one model is needed.')
    for generator in generators:
      if not getattr(generator, 'trainable_variables', None):
        raise ValueError(f'{generator!r} has no trainable variables: build it first.')
    if kernel is None and (num_samples != 1 or noise_dim):
      raise ValueError(
        'A regression (kernel=None) takes num_samples=1 and noise_dim=0, not '
        f'num_samples={num_samples} and noise_dim={noise_dim}: it has no noise.'
      )
    if kernel is not None and (num_samples < 2 or noise_dim < 1):
      raise ValueError(
        f'With a kernel, num_samples={num_samples} must be 2 or more and '
        f'noise_dim={noise_dim} 1 or more: distributions are compared by samples.'
      )
    self._dtype = generators[0].trainable_variables[0].dtype
    self._generators = list(generators)
    self._kernel = kernel
    self._num_samples, self._noise_dim = num_samples, noise_dim
    self._use_gradients = use_gradients
    self._seed = seed
    self._optimizers = [
      optimizers.RectifiedAdam(generator.trainable_variables, learning_rate, *betas)
      for generator in generators
    ]
    self.num_steps = tf.Variable(0, dtype=tf.int32, name='num_steps')
    self._skipped = [tf.Variable(0, name='skipped_updates') for _ in generators]
    self._updates = [
      self._make_update(*parts, jit_compile)
      for parts in zip(generators, self._optimizers, self._skipped)
    ]
    self._update = tf.function(self._step, autograph=False)

  def step(
    self, x: tf.Tensor, y: tf.Tensor, dy_dx: Optional[tf.Tensor] = None
  ) -> tf.Tensor:
    """Takes one optimizer step of every model.

    One whose data, loss or gradients are not finite skips it, and counts that in
    `skipped_updates`.

    Args:
      x: [B, X], or [E, B, X] with data of its own for each of the E models. Arrays
        or tensors, cast to the generators' type.
      y: [B, N] (or [E, B, N]): N samples of the function at each x.
      dy_dx: [B, N, X] (or [E, B, N, X]): their gradients; with `use_gradients` only.

    Returns:
      [E], the losses.

    Raises:
      ValueError: shapes that do not fit, or a gradient missing or not wanted.
    """
    x, y = self._convert(x), self._convert(y)
    if (dy_dx is not None) != self._use_gradients:
      raise ValueError(
        'dy_dx is missing: use_gradients trains on it.'
        if self._use_gradients
        else 'dy_dx was given but use_gradients is False.'
      )
    target = y[..., tf.newaxis]
    if y.shape.rank not in (2, 3) or x.shape.rank != y.shape.rank:
      raise ValueError(f'x {x.shape} and y {y.shape} must be [B, X] and [B, N], or both '
                       'with a leading axis of models.')  # fmt: skip
    if x.shape[:-1] != y.shape[:-1]:
      raise ValueError(f'x {x.shape} and y {y.shape} differ in their leading axes.')
    if self._use_gradients:
      dy_dx = self._convert(dy_dx)
      if dy_dx.shape != y.shape + x.shape[-1:]:
        raise ValueError(
          f'dy_dx has shape {dy_dx.shape}, must have {y.shape + x.shape[-1:]}.'
        )
      target = tf.concat([target, dy_dx], axis=-1)
    if x.shape.rank == 2:
      repeat = lambda t: tf.repeat(t[tf.newaxis], len(self._generators), axis=0)
      x, target = repeat(x), repeat(target)
    if x.shape[0] != len(self._generators):
      raise ValueError(f'x {x.shape} has another number of models than '
                       f'{len(self._generators)}.')  # fmt: skip
    return self._update(x, target)

  def samples(self, x: tf.Tensor, num_samples: int = 1, seed: int = 0) -> tf.Tensor:
    """Draws Sobolev samples [f ; df/dx] of every model: [B, X] to [E, B, M, 1 + X]."""
    x = self._convert(x)
    noise = tf.random.stateless_normal(
      [x.shape[0], num_samples, self._noise_dim], [seed, 0], dtype=x.dtype
    )
    return tf.stack([sobolev_samples(g, x, noise) for g in self._generators])

  def _convert(self, values) -> tf.Tensor:
    """Casts to the generators' type: NumPy's arrays are of float64 by default."""
    return tf.cast(tf.convert_to_tensor(values), self._dtype)

  def _step(self, x: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
    fold_in = tf.random.experimental.stateless_fold_in
    seeds = [fold_in([self._seed, i], self.num_steps) for i in range(x.shape[0])]
    batches = zip(self._updates, tf.unstack(x), tf.unstack(target), seeds)
    losses = [update(*batch) for update, *batch in batches]
    self.num_steps.assign_add(1)
    return tf.stack(losses)

  @property
  def skipped_updates(self) -> tf.Tensor:
    """The steps that each model has skipped so far, int32 [E]."""
    return tf.stack(self._skipped)

  def _make_update(
    self, generator: Generator, optimizer, skipped: tf.Variable, jit_compile: bool
  ):
    """Makes a model's step, compiled by itself: XLA's time grows faster than its work."""

    @tf.function(jit_compile=jit_compile, autograph=False)
    def update(x, target, seed):
      shape = [x.shape[0], self._num_samples, self._noise_dim]
      noise = tf.random.stateless_normal(shape, seed, dtype=x.dtype)
      variables = generator.trainable_variables
      with tf.GradientTape() as tape:
        drawn = sobolev_samples(generator, x, noise, self._use_gradients)
        loss = tf.reduce_mean(self._loss(drawn, target))
      gradients = tape.gradient(loss, variables)
      ok = metrics_lib.all_finite([x, target, loss, *gradients])
      tf.cond(ok, lambda: optimizer.apply(gradients), lambda: None)
      skipped.assign_add(tf.cast(~ok, tf.int32))
      return loss

    return update

  def _loss(self, drawn: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
    if self._kernel is None:
      return critic_losses.sobolev_squared_error(drawn, target)
    return mmd.mmd2(drawn, target, self._kernel)


def sobolev_samples(
  generator: Generator, x: tf.Tensor, noise: tf.Tensor, gradients: bool = True
) -> tf.Tensor:
  """Draws [f ; df/dx] at x [B, X] for noise [B, M, K]: [B, M, 1 + X], or [f] alone.

  The agent's Sobolev samples with an empty state.
  """
  nothing = x[:, :0]
  of_pair = lambda s, a, xi: generator(tf.concat([s, a], axis=-1), xi)
  wrt = 'action' if gradients else 'none'
  return sobolev.sobolev_samples(FunctionCritic(of_pair), nothing, x, noise, wrt)
