"""Weights that others published, as components of a model folder."""
