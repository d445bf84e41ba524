"""What a run logs: metrics.jsonl and TensorBoard events."""

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from cosub.data.atomic import written_atomically
from cosub.data.loading import Batch


class Window:
    """The steps since the last report. Values stay on the device until they are read."""

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size
        self.values: list[Tensor] = []  # (loss, accuracy, skipped, norm of the gradient), one per step
        self.started, self.waited = time.perf_counter(), 0.0

    def wait_for(self, batches: Iterator[Batch]) -> Batch:
        """The next batch; the time until it arrives counts as waiting for data."""
        started = time.perf_counter()
        batch = next(batches)
        self.waited += time.perf_counter() - started
        return batch

    def read(self, mean: Callable[[Tensor], Tensor]) -> tuple[dict[str, float], Float[Tensor, "steps 4"]]:
        """Means over the steps since the last report (the maximum of norms), and each step's values. Starts anew.

        Steps that are not finite are left out of the means. `mean` averages over processes.
        """
        rows = mean(torch.stack(self.values)).double().cpu()
        table = rows[rows.isfinite().all(1)]
        # Now that the values are read: on a GPU the host has just waited for the steps.
        now = time.perf_counter()
        seconds = max(now - self.started, 1e-9)
        values = {
            "loss": table[:, 0].mean().item(),
            "accuracy": table[:, 1].mean().item(),
            "skipped": table[:, 2].sum().item(),
            "grad_norm": table[:, 3].max().item() if len(table) else math.nan,
            "images_per_second": len(self.values) * self.batch_size / seconds,
            "data_wait": self.waited / seconds,
            "seconds": seconds,
        }
        self.values = []
        self.started, self.waited = now, 0.0
        return values, rows


class Logs:
    """Appends to the run's files. A continued run first removes the lines after the step at which it continues."""

    def __init__(self, folder: Path, first_step: int) -> None:
        path = folder / "metrics.jsonl"
        kept = [line for line in read(folder) if line["step"] <= first_step] if first_step else []
        with written_atomically(path) as aside:
            aside.write_text("".join(json.dumps(line) + "\n" for line in kept))
        self.file = path.open("a")
        self.events = SummaryWriter(str(folder / "tensorboard"), purge_step=first_step + 1 if first_step else None)

    def write(self, values: Mapping[str, float]) -> None:
        self.file.write(json.dumps(dict(values)) + "\n")
        self.file.flush()
        step = int(values["step"])
        for name, value in values.items():
            if name != "step":
                self.events.add_scalar(name, value, step)

    def close(self) -> None:
        self.file.close()
        self.events.close()


def named(found: Mapping[str, float], images: str) -> dict[str, float]:
    """What an evaluation found, by names that begin with the set of images."""
    return {f"{images}_{name}": value for name, value in found.items()}


def read(folder: Path) -> list[dict[str, float]]:
    """The complete lines of a run's metrics.jsonl: a killed process may leave half of one."""
    path = folder / "metrics.jsonl"
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    return [value for value in map(_parsed, lines) if _whole(value)]


def _whole(value: Any) -> bool:
    numbers = isinstance(value, dict) and all(isinstance(number, int | float) for number in value.values())
    return numbers and {"step", "epoch"} <= value.keys()


def _parsed(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None
