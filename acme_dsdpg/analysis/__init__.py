"""Analyses of finished runs: curves, tables, diagnoses; and sweeps of many runs."""
