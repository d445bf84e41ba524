"""Means over seeds and how far they can be trusted."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Estimate:
    """A mean over `number` seeds, and half the width of its 95 % interval: None for a single seed."""

    mean: float
    half: float | None
    number: int

    def __contains__(self, value: float) -> bool:
        return self.half is not None and abs(value - self.mean) <= self.half

    @property
    def differs(self) -> bool:
        """The interval leaves out zero."""
        return self.half is not None and 0.0 not in self

    def percent(self, sign: str = "") -> str:
        """In percent: `95.31 ± 0.42`."""
        half = "" if self.half is None else f" ± {100 * self.half:.2f}"
        return f"{100 * self.mean:{sign}.2f}{half}"


def estimate(values: Sequence[float]) -> Estimate | None:
    """Mean and 95 % interval by Student's t distribution; None where there are no values."""
    number = len(values)
    if number < 2:
        return Estimate(values[0], None, 1) if values else None
    from scipy.stats import t

    spread = statistics.stdev(values) / math.sqrt(number)
    return Estimate(statistics.mean(values), float(t.ppf(0.975, number - 1)) * spread, number)


def paired(values: Mapping[int, float], baseline: Mapping[int, float]) -> Estimate | None:
    """The difference to a baseline over the seeds that both have: what a seed does to both cancels."""
    return estimate([values[seed] - baseline[seed] for seed in sorted(values) if seed in baseline])
