"""`cosub train` as a user starts it: time to its first step, images per second, killed and continued."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

import torch
from safetensors.torch import load_file

from card.row import Setup, Skipped
from cosub.train.logs import read

_SOON = 0.02  # seconds between checks


@contextmanager
def _training(setup: Setup, folder: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "cosub", "train", *arguments, "--device", setup.device, "--out", str(folder)]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _wait(process: subprocess.Popen[bytes], folder: Path, until: Callable[[list[dict[str, float]]], bool]) -> None:
    """Wait until the lines of metrics.jsonl fulfil a condition."""
    while not until(read(folder)):
        if process.poll() is not None:
            raise RuntimeError(f"cosub train ended with {process.returncode} before that: see the row's log")
        time.sleep(_SOON)


def first_step(setup: Setup) -> dict[str, Any]:
    """Seconds from the command to the first reported step, including imports and compiling."""
    folder, started = setup.folder / "run", time.monotonic()
    with _training(setup, folder, "digits") as process:
        _wait(process, folder, bool)
        return {"seconds": round(time.monotonic() - started, 1), "step": read(folder)[0]["step"]}


def photographs(setup: Setup) -> dict[str, Any]:
    """`cifar10-gpu`: images per second in the second half of some seconds of training."""
    if setup.tiny:
        return _images_per_second(setup, 1, "digits")
    data = Path(os.environ.get("COSUB_DATA", "")) / "cifar10"
    if "COSUB_DATA" not in os.environ or not data.is_dir():
        raise Skipped("no images: set COSUB_DATA to a folder that holds cifar10")
    workers = str(max(1, min(14, (os.cpu_count() or 2) - 2)))
    return _images_per_second(setup, 40, "cifar10-gpu", "--data.path", str(data), "--workers", workers)


def _images_per_second(setup: Setup, seconds: float, *arguments: str) -> dict[str, Any]:
    folder = setup.folder / "run"
    with _training(setup, folder, *arguments) as process:
        _wait(process, folder, bool)
        end = time.monotonic() + seconds
        _wait(process, folder, lambda lines: time.monotonic() > end and len(lines) > 1)
        lines = [line for line in read(folder) if "images_per_second" in line]
    later = lines[len(lines) // 2 :]
    return {
        "images_per_second": round(median(line["images_per_second"] for line in later)),
        "data_wait": round(fmean(line["data_wait"] for line in later), 4),
        "steps": lines[-1]["step"],
    }


@dataclass(frozen=True)
class Killed:
    """Whether a deterministic run that is killed and continued has bit-identical weights to an uninterrupted one."""

    compile: str

    def __call__(self, setup: Setup) -> dict[str, Any]:
        options = ("digits", "--epochs", "1" if setup.tiny else "2", "--deterministic", "--checkpoint-every", "5")
        options += ("--compile", "off" if setup.tiny else self.compile)
        whole, broken = setup.folder / "whole", setup.folder / "broken"
        self._to_the_end(setup, whole, *options)
        with _training(setup, broken, *options) as process:
            _wait(process, broken, lambda lines: bool(lines) and lines[-1]["step"] >= 7)
        killed_at = read(broken)[-1]["step"]
        if (broken / "model.safetensors").exists():
            raise RuntimeError("the run had ended before it was killed")
        self._to_the_end(setup, broken, *options)
        equal = same_weights(whole / "model.safetensors", broken / "model.safetensors")
        return {"equal": int(equal), "killed_after_step": killed_at}

    def _to_the_end(self, setup: Setup, folder: Path, *options: str) -> None:
        with _training(setup, folder, *options) as process:
            if process.wait():
                raise RuntimeError(f"cosub train ended with {process.returncode}: see the row's log")


def same_weights(a: Path, b: Path) -> bool:
    """Whether two files hold bit-identical tensors. Their bytes may differ, because metadata have no order."""
    left, right = load_file(a), load_file(b)
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)
