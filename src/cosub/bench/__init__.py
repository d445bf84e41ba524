"""Measurements of cost, as ratios within one run."""
