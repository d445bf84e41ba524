"""The rows of runs/card.py, and how they are run and told."""
