"""Weights that others published, read into a network."""
