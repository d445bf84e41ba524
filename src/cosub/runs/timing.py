"""Time and memory that work takes on a device."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch


def seconds_of(device: torch.device, work: Callable[..., object], *arguments: Any) -> float:
    """Seconds until a call's work on a device is done, without work that a GPU had queued before."""
    _synchronize(device)
    started = time.perf_counter()
    work(*arguments)
    _synchronize(device)
    return time.perf_counter() - started


def time_in_turns(device: torch.device, calls: Sequence[tuple[Any, ...]], repeats: int) -> list[list[float]]:
    """Seconds of each repeat of each call (a function and its arguments), after two warm-up repeats.

    The calls alternate, so that other load on the machine affects all of them.
    """
    turns = [[seconds_of(device, *call) for call in calls] for _ in range(repeats + 2)]
    return [list(seconds) for seconds in zip(*turns[2:], strict=True)]


def start_peak(device: torch.device) -> int:
    """Begin to measure peak memory on a GPU. Returns the bytes that are already allocated; 0 elsewhere."""
    if device.type != "cuda":
        return 0
    torch.cuda.reset_peak_memory_stats(device)
    return torch.cuda.memory_allocated(device)


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
