"""Humanoid (walk): 21 actions, 67 observations; published runs take millions of steps."""

OVERRIDES = {
  'num_steps': 10_000_000,
  # An evaluation each 5,000 steps would take longer than the acting between.
  'eval_every': 100_000,
}
