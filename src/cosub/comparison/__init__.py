"""`cosub compare`: is co-training worth it on a folder of images? Three ways to train, at one budget of time."""
