"""Algorithm 1 to the letter, the long way, for tests and benchmarks."""
