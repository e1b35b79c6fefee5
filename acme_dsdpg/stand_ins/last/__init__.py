"""What is searched after everything else on the path."""
