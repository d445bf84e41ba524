"""Evaluation: exact under any number of processes."""
