"""What a run sets for its whole process, and leaves as its caller had it: a notebook goes on after a run."""

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

PRELOADED = [
    "cosub.train.launch",
    "timm",
    "sklearn.datasets",
    "sklearn.model_selection",
    "matplotlib.backends.backend_agg",
]
"""Imported once, by the server from which processes that train are forked."""


@contextmanager
def settings_of_run(deterministic: bool, device: torch.device) -> Iterator[None]:
    """Kernels as the run asks for them; afterwards those of before, and the random state of before."""
    if deterministic:  # cuBLAS reads it when CUDA starts
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    kernels, warned = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    drawn, drawn_by_numpy = random.getstate(), np.random.get_state()
    torch.use_deterministic_algorithms(deterministic)
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield
    finally:
        torch.use_deterministic_algorithms(kernels, warn_only=warned)
        random.setstate(drawn)
        np.random.set_state(drawn_by_numpy)
