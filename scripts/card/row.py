"""What a row is: something to measure under a limit, and the bars that it must reach."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class Skipped(Exception):
    """A row that cannot be run here; says why."""


@dataclass(frozen=True)
class Setup:
    """Where a row runs."""

    device: str
    """cuda or cpu."""
    tiny: bool
    """Small networks, images and numbers of steps: to see that the row runs, not what it gives."""
    folder: Path
    """The row's own, empty."""

    def require_cuda(self, why: str) -> None:
        if self.device != "cuda":
            raise Skipped(f"needs a GPU: {why}")


@dataclass(frozen=True)
class Bar:
    """What a measure must reach. `key` leads to it in the row's values: "time.co-training"."""

    key: str
    what: str
    bar: float
    goal: float | None = None
    at_least: bool = False
    before: str = ""
    """What the experiment of 2026-11-26 gave."""

    def reached(self, value: float, bar: float) -> bool:
        return value >= bar if self.at_least else value <= bar

    def verdict(self, value: float) -> str:
        if not self.reached(value, self.bar):
            return "MISS"
        return "PASS, goal" if self.goal is not None and self.reached(value, self.goal) else "PASS"


@dataclass(frozen=True)
class Row:
    """A row runs in a process of its own. `measure` gives plain values for JSON, nested at will."""

    name: str
    what: str
    limit: int
    """Seconds."""
    measure: Callable[[Setup], dict[str, Any]]
    bars: tuple[Bar, ...] = ()


def value_at(values: dict[str, Any], key: str) -> float:
    found: Any = values
    for part in key.split("."):
        found = found[part]
    return float(found)
