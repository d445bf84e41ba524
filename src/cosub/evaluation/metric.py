"""The headline metric of a task: its name on pages, and its key in summary.json and metrics.jsonl."""

from typing import NamedTuple

from cosub.recipes import plugins


class Metric(NamedTuple):
    name: str
    key: str


TOP1 = Metric("top-1", "top1")


def headline_metric(task: str) -> Metric:
    """The headline metric of a task, by its kind."""
    place = plugins.METRICS.get(task)
    return plugins.find(place) if place else TOP1
