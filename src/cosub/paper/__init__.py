"""What belongs to the paper: its recipes, studies and tables of sizes."""
