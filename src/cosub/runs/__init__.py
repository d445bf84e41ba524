"""What a run is made of, and every verb reads."""
