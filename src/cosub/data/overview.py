"""A data set in a few lines: its splits and their places, its classes, what was not read."""

from collections import Counter
from collections.abc import Mapping

from cosub.data.sources import Examples, Source, walking

_SHOWN = 5


def splits(source: Source) -> dict[str, Examples]:
    """The sets of a source by name, train first. If validation and test are the same images, they are one set, test."""
    sets = {"train": source.train}
    if source.validation is not None and source.validation is not source.test:
        sets["validation"] = source.validation
    return {**sets, "test": source.test}


def overview(source: Source) -> dict[str, str]:
    """Rows of a table: splits with their counts and places, the first classes, what was left out and why."""
    rows: dict[str, str] = {}
    for name, examples in splits(source).items():
        if name in source.places:
            both = name == "test" and source.validation is source.test  # nothing may be chosen on test images
            rows["validation" if both else name] = f"{len(examples.labels):,} images {source.places[name]}"
    more = len(source.classes) - _SHOWN
    rows["classes"] = ", ".join(source.classes[:_SHOWN]) + (f" and {more:,} more" if more > 0 else "")
    if source.left_out:
        rows["not read"] = walking.list_left_out(source.left_out)
    return rows


def balance(source: Source) -> Mapping[str, dict[str, int]]:
    """The number of images of each class in each split."""
    found = {name: Counter(examples.labels) for name, examples in splits(source).items()}
    return {name: {c: counts[index] for index, c in enumerate(source.classes)} for name, counts in found.items()}
