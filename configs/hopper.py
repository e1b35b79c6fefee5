"""Hopper (hop): published curves of DDPG and D4PG rise after 100,000 steps only."""

OVERRIDES = {
  'num_steps': 1_000_000,
}
