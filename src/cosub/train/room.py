"""A disk or a memory that is full ends a run with one line."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from cosub.errors import NO_ROOM, RunError
from cosub.runs.folder import RunFolder


@contextmanager
def room_on_disk(folder: RunFolder) -> Iterator[None]:
    """Turn the error of a full disk into one line, from any file: metrics, TensorBoard, results."""
    shown = threading.excepthook

    def show(error: threading.ExceptHookArgs) -> None:  # TensorBoard's thread; its next call raises the same here
        if not (isinstance(error.exc_value, OSError) and error.exc_value.errno in NO_ROOM):
            shown(error)

    threading.excepthook = show
    try:
        yield
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        raise RunError(
            f"{folder.path}: cannot be written ({error.strerror}): free some space; the same command continues from "
            "the last checkpoint, if there is one yet"
        ) from error
    finally:
        threading.excepthook = shown


@contextmanager
def room_in_memory(device: torch.device) -> Iterator[None]:
    """Turn the error of a GPU whose memory is full into one line."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        reason = " ".join(str(error).split())[:200]
        raise RunError(
            f"device: {device}: its memory is too small ({reason}): the same command goes on with more --micro-steps, "
            "or with --checkpointing lean, selective or blocks; else begin again, in another --out, with a smaller "
            "--batch-size or --group-size"
        ) from error
