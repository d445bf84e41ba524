"""BatchNorm in training needs more than one value a channel."""

from collections.abc import Iterator
from contextlib import contextmanager

from cosub.errors import InputError

_TORCH_SAYS = "Expected more than 1 value per channel when training"


@contextmanager
def enough_rows() -> Iterator[None]:
    """Turn torch's error for BatchNorm with a single value into one that has a remedy.

    Raises:
        InputError: instead of it.
    """
    try:
        yield
    except ValueError as error:
        if not str(error).startswith(_TORCH_SAYS):
            raise
        raise InputError(
            "group_size: BatchNorm gets one row of one pixel in some layer, and has no deviation to divide by; take a "
            "larger --group-size, fewer --micro-steps, a smaller --drop-rate, or a larger --resolution"
        ) from error
