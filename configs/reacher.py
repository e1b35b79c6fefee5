"""Reacher (easy): the defaults."""

OVERRIDES = {}
