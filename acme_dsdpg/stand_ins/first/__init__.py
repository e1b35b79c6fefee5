"""What is searched before everything else on the path."""
