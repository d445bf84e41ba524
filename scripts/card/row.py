"""What a row is: something to measure within a time limit, and the bars that it must reach."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class Skipped(Exception):
    """A row that cannot be run here; the message says why."""


@dataclass(frozen=True)
class Setup:
    """Where a row runs."""

    device: str
    """cuda or cpu."""
    tiny: bool
    """Small networks, images and numbers of steps: to check that the row runs."""
    folder: Path
    """The row's own folder, empty."""
    keep: Callable[[dict[str, Any]], None]
    """Writes the values of the row as they are so far, so that they outlive its time limit."""

    def require_cuda(self, why: str) -> None:
        if self.device != "cuda":
            raise Skipped(f"needs a GPU: {why}")


@dataclass(frozen=True)
class Bar:
    """What a measure must reach. `key` is its path in the row's values: "time.co-training"."""

    key: str
    what: str
    bar: float
    goal: float | None = None
    at_least: bool = False
    before: str = ""
    """The result of the experiment of 2026-11-26."""

    def reached(self, value: float, bar: float) -> bool:
        return value >= bar if self.at_least else value <= bar

    def verdict(self, value: float) -> str:
        if not self.reached(value, self.bar):
            return "MISS"
        return "PASS, goal" if self.goal is not None and self.reached(value, self.goal) else "PASS"


@dataclass(frozen=True)
class Row:
    """A row, which runs in its own process. `measure` returns plain values for JSON, which may be nested."""

    name: str
    what: str
    limit: int
    """Time limit in seconds."""
    measure: Callable[[Setup], dict[str, Any]]
    bars: tuple[Bar, ...] = ()


def value_at(values: dict[str, Any], key: str) -> float:
    found: Any = values
    for part in key.split("."):
        found = found[part]
    return float(found)
