"""Measurements of cost: ratios in one run."""
