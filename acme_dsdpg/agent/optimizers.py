"""Adam and Rectified Adam, and the slots of Sonnet's optimizers.

Both compute what the project began with: Keras 2.8's Adam and tensorflow-addons
0.17.1's Rectified Adam. As there, a step's scalars are of the variables' type.
"""

from typing import Callable, List, Sequence

import sonnet as snt
import tensorflow as tf

# (m, v) -> what is subtracted from the variables; all of one shape and type.
_Change = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]

_SMA_THRESHOLD = 5.0


class _MomentOptimizer(tf.Module):
  """Optimizer with exponential means of the gradients and of their squares.

  Its state is created with it: a compiled step creates nothing, and
  `tf.train.Checkpoint(optimizer=...)` saves and restores everything. Gradients
  and moments of all variables are one vector, [P]: a few compiled loops in place of
  several for each variable.

  Attributes:
    iterations: int64 [], the steps taken.
    first_moments: m, [P], of the variables' type; zeros at first.
    second_moments: v, likewise.
  """

  def __init__(
    self,
    variables: Sequence[tf.Variable],
    learning_rate: float,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-7,
  ):
    """Initializes the optimizer; the betas are A.8's, for all networks.

    Args:
      variables: what is optimized, all float32 or all float64, of any shapes.
      learning_rate: step size.
      beta_1: decay of the first moments.
      beta_2: decay of the second moments.
      epsilon: added to the second moments' root.
    """
    super().__init__()
    variables = tuple(variables)
    # In a function, as a module would count and save them: they are the network's.
    self._get_variables = lambda: variables
    self.learning_rate, self.epsilon = learning_rate, epsilon
    self.beta_1, self.beta_2 = beta_1, beta_2
    self.iterations = tf.Variable(0, trainable=False, dtype=tf.int64, name='iterations')
    size = sum(variable.shape.num_elements() for variable in variables)
    zeros = tf.zeros([size], variables[0].dtype if variables else tf.float32)
    self.first_moments = tf.Variable(zeros, trainable=False, name='first_moments')
    self.second_moments = tf.Variable(zeros, trainable=False, name='second_moments')

  def apply(self, gradients: Sequence[tf.Tensor], ok: tf.Tensor = True):
    """Takes one step, or none.

    Args:
      gradients: dense, in the order and of the shapes and types of the variables.
      ok: bool [], whether to change anything.

    Raises:
      ValueError: there are more or fewer gradients than variables.
    """
    variables = self._get_variables()
    if len(gradients) != len(variables):
      raise ValueError(f'{len(gradients)} gradients for {len(variables)} variables.')
    gradient = tf.concat([tf.reshape(x, [-1]) for x in gradients], axis=0)
    ok = tf.convert_to_tensor(ok)
    step = self.iterations.assign_add(tf.cast(ok, tf.int64))
    m, v = self.first_moments, self.second_moments
    beta_1, beta_2 = self._betas(m.dtype)
    new_m = beta_1 * m + (1.0 - beta_1) * gradient
    new_v = beta_2 * v + (1.0 - beta_2) * tf.square(gradient)
    change = self._make_change(tf.cast(step, m.dtype))(new_m, new_v)
    m.assign(tf.where(ok, new_m, m))
    v.assign(tf.where(ok, new_v, v))
    change = tf.where(ok, change, tf.zeros_like(change))
    changes = tf.split(change, [variable.shape.num_elements() for variable in variables])
    for variable, change in zip(variables, changes):
      variable.assign_sub(tf.reshape(change, variable.shape))

  def _betas(self, dtype: tf.DType) -> List[tf.Tensor]:
    """Casts the betas; 1 - beta is taken after that, as 1 - beta^t is."""
    return [tf.constant(beta, dtype) for beta in (self.beta_1, self.beta_2)]

  def _make_change(self, t: tf.Tensor) -> _Change:
    """Makes the change of step t = 1, 2, ..., [], whose type is the variables'."""
    raise NotImplementedError


class Adam(_MomentOptimizer):
  """Adam (Kingma and Ba, 2015, as at the end of their Section 2), A.8's for world models.

  Epsilon stands outside of the bias correction:
  lr sqrt(1 - beta_2^t) / (1 - beta_1^t) m / (sqrt(v) + epsilon).
  """

  def _make_change(self, t: tf.Tensor) -> _Change:
    beta_1, beta_2 = self._betas(t.dtype)
    rate = self.learning_rate * tf.sqrt(1.0 - beta_2**t) / (1.0 - beta_1**t)
    return lambda m, v: rate * m / (tf.sqrt(v) + self.epsilon)


class RectifiedAdam(_MomentOptimizer):
  """Rectified Adam (Liu et al., 2020, Algorithm 2), A.8's for policy and critic.

  Deviation (docs/paper.md): it rectifies from rho_t >= 5 on, as the authors' code and
  tensorflow-addons do; their Algorithm 2 has rho_t > 4. Only step 5 differs, where
  rho_5 is 4.996 for beta_2 = 0.999 and 4.581 for 0.9: here it is the last of five steps
  of plain momentum, lr m / (1 - beta_1^t), there the first that is rectified.
  """

  def _make_change(self, t: tf.Tensor) -> _Change:
    beta_1, beta_2 = self._betas(t.dtype)
    first_scale, second_scale = 1.0 / (1.0 - beta_1**t), 1.0 / (1.0 - beta_2**t)
    rho_inf = 2.0 / (1.0 - beta_2) - 1.0
    rho = rho_inf - 2.0 * t * beta_2**t * second_scale
    ratio = (rho - 4.0) / (rho_inf - 4.0) * (rho - 2.0) / (rho_inf - 2.0) * rho_inf / rho
    rectification = tf.sqrt(tf.maximum(ratio, 0.0))  # Below 0 where rho is 2 to 4.

    def change(m, v):
      mean, root = m * first_scale, tf.sqrt(v * second_scale)
      adaptive = rectification * mean / (root + self.epsilon)
      return self.learning_rate * tf.where(rho >= _SMA_THRESHOLD, adaptive, mean)

    return change


def create_sonnet_slots(optimizer: snt.Optimizer, variables: Sequence[tf.Variable]):
  """Creates a Sonnet optimizer's slots, which it otherwise does at its first step.

  XLA can create no variables, and a restored checkpoint needs the slots. Sonnet offers
  no public way.
  """
  optimizer._initialize(variables)
