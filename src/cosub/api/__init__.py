"""What can be asked of cosub, in words or by Python's arguments, and what comes back. Importing it needs no torch."""
