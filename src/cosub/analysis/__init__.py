"""What a trained network's submodels are worth: the paper's figures 4, 5, B.1, C.1, D.1 and D.2 for one's own runs."""
