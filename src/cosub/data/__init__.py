"""Data: sources, the order of examples, transforms, mixing."""
