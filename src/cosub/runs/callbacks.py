"""Callbacks of a run: trackers of experiments, plots in a notebook."""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol, runtime_checkable

from cosub.errors import InputError


@runtime_checkable
class Callback(Protocol):
    """Called by the first process alone, between steps. What it raises ends the run; the same call continues it.

    Values are numbers by name. A metric is named by the images that it was measured on: `validation_top1`, `test_top1`.
    """

    def logged(self, values: Mapping[str, float]) -> None:
        """What was measured since the last time: means over the steps, the largest `grad_norm`.

        Named step, epoch, lr, loss, accuracy, grad_norm, images_per_second and data_wait.
        """
        ...

    def evaluated(self, values: Mapping[str, float]) -> None:
        """An evaluation: step of the run, epoch of the network, and the headline metric of each set of images.

        Those during the run also have distinct_images, of an epoch.

        The last one is of the network that the run gives: where the best epoch is chosen, of that epoch. Epoch 0 is the
        network before the first step.
        """
        ...


def checked(callbacks: Any) -> tuple[Callback, ...]:
    """These callbacks, before anything runs.

    Raises:
        InputError: for something else.
    """
    if isinstance(callbacks, Callback):
        name = callbacks.__name__ if isinstance(callbacks, type) else type(callbacks).__name__
        raise InputError(f"callbacks: {name}: must be in a list; write [{name}()]")
    if not isinstance(callbacks, Iterable):
        raise InputError(f"callbacks: {callbacks!r}: must be a list of callbacks; leave it out where there are none")
    found: tuple[Any, ...] = tuple(callbacks)
    for callback in found:
        missing = [name for name in ("logged", "evaluated") if not callable(getattr(callback, name, None))]
        if isinstance(callback, type) or missing:
            what = f"the class {callback.__name__}" if isinstance(callback, type) else type(callback).__name__
            remedy = "give an object of it" if isinstance(callback, type) else f"has no method {' or '.join(missing)}"
            raise InputError(f"callbacks: {what}: {remedy}; see cosub.Callback")
    return found
