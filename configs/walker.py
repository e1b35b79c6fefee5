"""Walker: the defaults, which were sized on it."""

OVERRIDES = {}
