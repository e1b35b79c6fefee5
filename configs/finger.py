"""Finger (spin): the defaults."""

OVERRIDES = {}
