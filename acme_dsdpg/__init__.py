"""Distributional Sobolev Deterministic Policy Gradient, an Acme agent."""
