"""Cheetah (run): the defaults."""

OVERRIDES = {}
