"""What a run writes down as it goes: metrics.jsonl and TensorBoard events."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter


class Window:
    """The steps since the last report. Values stay on the device until they are read."""

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size
        self.values: list[Tensor] = []  # (loss, accuracy, norm of the gradient), one a step
        self.seconds = self.waited = 0.0

    def read(self) -> dict[str, float]:
        """Means over the steps since the last report, and a fresh start. A norm is the largest."""
        table = torch.stack(self.values).double().cpu()
        seconds = max(self.seconds, 1e-9)
        values = {
            "loss": table[:, 0].mean().item(),
            "accuracy": table[:, 1].mean().item(),
            "grad_norm": table[:, 2].max().item(),
            "images_per_second": len(self.values) * self.batch_size / seconds,
            "data_wait": self.waited / seconds,
        }
        self.values = []
        self.seconds = self.waited = 0.0
        return values


class Logs:
    """Appends to the run's files. A continued run first drops the lines after the step that it starts from."""

    def __init__(self, folder: Path, first_step: int) -> None:
        path = folder / "metrics.jsonl"
        kept = [line for line in _lines(path) if json.loads(line)["step"] <= first_step]
        path.write_text("".join(line + "\n" for line in kept))
        self.file = path.open("a")
        self.events = SummaryWriter(str(folder / "tensorboard"), purge_step=first_step or None)

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


def read(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in _lines(folder / "metrics.jsonl")]


def _lines(path: Path) -> list[str]:
    """Whole lines: a killed process may leave half of one."""
    if not path.exists():
        return []
    return [line for line in path.read_text().split("\n")[:-1] if line.endswith("}")]
