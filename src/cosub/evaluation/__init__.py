"""Evaluation, exact for any number of processes."""
