"""The rows of scripts/card.py, and how they are run and reported."""
