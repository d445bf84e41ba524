"""Callbacks of a run: trackers of experiments, plots in a notebook."""

from collections.abc import Mapping
from typing import Protocol


class Callback(Protocol):
    """Called by the first process alone, between steps. What it raises ends the run; the same call continues it.

    Values are numbers by name. A metric is named by the images that it was measured on: `validation_top1`, `test_top1`.
    """

    def logged(self, values: Mapping[str, float]) -> None:
        """Means over the steps since the last time: step, epoch, lr, loss, accuracy, grad_norm, images_per_second."""
        ...

    def evaluated(self, values: Mapping[str, float]) -> None:
        """An evaluation, the one at the end too: step, epoch, and the headline metric of each set of images."""
        ...
