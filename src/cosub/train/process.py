"""What a run sets for its whole process, and leaves as its caller had it: a notebook goes on after a run."""

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from cosub.errors import InputError

PRELOADED = [
    "cosub.train.launch",
    "timm",
    "sklearn.datasets",
    "sklearn.model_selection",
    "matplotlib.backends.backend_agg",
]
"""Imported once, by the server from which processes that train are forked."""


def _require_deterministic_products(device: torch.device) -> None:
    """Raise InputError where cuBLAS has been used in this process and cannot be made deterministic any more."""
    try:
        torch.ones(1, 1, device=device).mm(torch.ones(1, 1, device=device))
    except RuntimeError as error:
        if "CUBLAS_WORKSPACE_CONFIG" not in str(error):
            raise
        raise InputError(
            "deterministic: CUDA was used before in this process, in another way: set CUBLAS_WORKSPACE_CONFIG=:4096:8 "
            "before Python starts, or use cosub train"
        ) from error


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
        if deterministic:
            _require_deterministic_products(device)
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield
    finally:
        torch.use_deterministic_algorithms(kernels, warn_only=warned)
        random.setstate(drawn)
        np.random.set_state(drawn_by_numpy)
