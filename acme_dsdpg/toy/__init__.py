"""The paper's supervised experiments (4.1, A.6, A.7)."""
