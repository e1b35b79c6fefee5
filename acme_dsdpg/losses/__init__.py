"""Losses: pure functions of tensors and callables."""
