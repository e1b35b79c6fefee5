"""Fish (swim): a random target each episode."""

OVERRIDES = {
  'num_steps': 500_000,
  # The target's place decides the return.
  'eval_episodes': 10,
}
