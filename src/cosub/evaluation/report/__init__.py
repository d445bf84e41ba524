"""What a network does well and badly on a set: by class, by image, and how far its confidence can be trusted."""
