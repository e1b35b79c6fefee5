"""Runs of an agent: loops, processes, evaluation, checkpoints, logs and faults."""
