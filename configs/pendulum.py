"""Pendulum (swingup): more evaluation episodes, as the start decides the return."""

OVERRIDES = {
  # From most initial states an untrained policy earns nothing at all.
  'eval_episodes': 10,
}
