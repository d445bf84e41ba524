"""Seconds and bytes that work takes on a device."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch


def seconds_of(device: torch.device, work: Callable[..., object], *arguments: Any) -> float:
    """Seconds by the clock until a call's work on a device is done. Work that a GPU had before is not counted."""
    _synchronize(device)
    started = time.perf_counter()
    work(*arguments)
    _synchronize(device)
    return time.perf_counter() - started


def time_in_turns(device: torch.device, calls: Sequence[tuple[Any, ...]], repeats: int) -> list[list[float]]:
    """Seconds of each repeat of each call, a tuple of a function and its arguments, after two that warm up.

    The calls take turns, so that what else the machine does falls on all of them.
    """
    turns = [[seconds_of(device, *call) for call in calls] for _ in range(repeats + 2)]
    return [list(seconds) for seconds in zip(*turns[2:], strict=True)]


def start_peak(device: torch.device) -> int:
    """Begin to measure peak memory on a GPU. Returns the bytes that are allocated already."""
    if device.type != "cuda":
        return 0
    torch.cuda.reset_peak_memory_stats(device)
    return torch.cuda.memory_allocated(device)


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
