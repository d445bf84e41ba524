"""What every command knows of a run: its folder, network, processes, progress and cost."""
