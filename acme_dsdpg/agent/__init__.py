"""The agent: presets, learner, actor, adders and the builder that wires them."""
