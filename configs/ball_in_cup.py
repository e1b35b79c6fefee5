"""Ball in cup (catch): more evaluation episodes, as each is won or lost whole."""

OVERRIDES = {
  'eval_episodes': 10,
}
