"""Training: the loop, methods, tasks, optimizer, checkpoints, planning."""
