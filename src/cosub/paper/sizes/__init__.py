"""The sizes of the paper's networks beside ours."""
