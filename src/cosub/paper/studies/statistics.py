"""Means over seeds and how far they can be trusted."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_NOISE = 1e-12  # equal differences of accuracies differ by less in floating point


@dataclass(frozen=True)
class Estimate:
    """A mean over `number` seeds with its standard error, which is None for a single seed.

    Intervals and tests are Student's.
    """

    mean: float
    error: float | None
    number: int

    def half_width(self, level: float) -> float | None:
        """Half the width of the interval of a level in (0, 1); None for a single seed."""
        if self.error is None:
            return None
        from scipy.stats import t

        return float(t.ppf((1 + level) / 2, self.number - 1)) * self.error

    @property
    def half(self) -> float | None:
        """Half the width of the 95 % interval."""
        return self.half_width(0.95)

    def __contains__(self, value: float) -> bool:
        return self.half is not None and abs(value - self.mean) <= self.half

    @property
    def differs(self) -> bool:
        """The interval leaves out zero, and has a width.

        Accuracies are whole numbers of images, by equally many of which few seeds may differ by chance.
        """
        return bool(self.error) and 0.0 not in self

    @property
    def p(self) -> float | None:
        """Two-sided, of the test that the mean is zero; None for a single seed, or where all are equal."""
        if not self.error:
            return None
        from scipy.stats import t

        return 2 * float(t.sf(abs(self.mean) / self.error, self.number - 1))

    def equivalent(self, margin: float) -> bool | None:
        """Two one-sided tests at 5 %: the 90 % interval lies within the margin around zero. None for a single seed."""
        half = self.half_width(0.9)
        return None if half is None else abs(self.mean) + half <= margin

    def percent(self, sign: str = "") -> str:
        """In percent: `95.31 ± 0.42`."""
        half = "" if self.half is None else f" ± {100 * self.half:.2f}"
        return f"{100 * self.mean:{sign}.2f}{half}"


def estimate(values: Sequence[float]) -> Estimate | None:
    """Mean and standard error; None where there are no values."""
    number = len(values)
    if number < 2:
        return Estimate(values[0], None, 1) if values else None
    error = statistics.stdev(values) / math.sqrt(number)
    return Estimate(statistics.mean(values), error if error > _NOISE else 0.0, number)


def paired(values: Mapping[int, float], baseline: Mapping[int, float]) -> Estimate | None:
    """The difference to a baseline over the seeds that both have: what a seed does to both cancels."""
    return estimate([values[seed] - baseline[seed] for seed in sorted(values) if seed in baseline])
