"""What is the paper's own: its recipes, its studies, its tables of sizes."""
