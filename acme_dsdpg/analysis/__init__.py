"""What is computed from finished runs: curves, tables, diagnoses and sweeps."""
