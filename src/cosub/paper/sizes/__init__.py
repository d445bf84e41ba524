"""The sizes of the paper's networks, as printed and as counted here."""
