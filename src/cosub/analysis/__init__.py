"""Analyses of trained networks and their submodels: the paper's figures 4, 5, B.1, C.1, D.1 and D.2 for own runs."""
