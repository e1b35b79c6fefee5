"""Cartpole: the defaults."""

OVERRIDES = {}
