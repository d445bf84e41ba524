"""What a run's summary says of its images."""

from collections.abc import Mapping
from typing import Any, Literal


def scored_on(summary: Mapping[str, Any]) -> Literal["validation", "held-out"]:
    """Which images its accuracy is of: those that the network was chosen by, so that it is optimistic; or others."""
    of_before = summary.get("chosen_on") == "test"  # the words of runs from before `reported_on`
    return "validation" if of_before or summary.get("reported_on") == "validation" else "held-out"


def fingerprint_of(summary: Mapping[str, Any]) -> str:
    """Of the run's data; empty where the run is from before summaries had it."""
    data = summary.get("data")
    return str(data.get("fingerprint", "")) if isinstance(data, dict) else ""
