"""Training of every network that a model folder holds."""
