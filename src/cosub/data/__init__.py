"""Data: sources, which example comes when, transforms, mixing."""
