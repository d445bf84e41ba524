"""What a run's summary says of its images."""

from collections.abc import Mapping
from typing import Any, Literal

Scored = Literal["validation", "test", "held-out"]


def scored_on(summary: Mapping[str, Any]) -> Scored:
    """Which images its accuracy is of; held-out in a summary from before it said so."""
    if summary.get("chosen_on") == "test":  # the words of runs from before `reported_on`
        return "validation"
    found = summary.get("reported_on")
    return found if found in ("validation", "test") else "held-out"


def fingerprint_of(summary: Mapping[str, Any]) -> str:
    """Of the run's data; empty where the run is from before summaries had it."""
    data = summary.get("data")
    return str(data.get("fingerprint", "")) if isinstance(data, dict) else ""
