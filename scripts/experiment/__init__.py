"""What docs/evidence.md says of its runs."""
