"""BatchNorm in training needs more than one value per channel."""

from collections.abc import Iterator
from contextlib import contextmanager

from cosub.errors import InputError

_TORCH_SAYS = "Expected more than 1 value per channel when training"


@contextmanager
def enough_rows() -> Iterator[None]:
    """Turn torch's error for BatchNorm with a single value into one with a remedy.

    Raises:
        InputError: instead of torch's error.
    """
    try:
        yield
    except ValueError as error:
        if not str(error).startswith(_TORCH_SAYS):
            raise
        raise InputError(
            "group_size: BatchNorm gets one row of one pixel in some layer, which has no deviation to divide by; set "
            "a larger --group-size, fewer --micro-steps, a smaller --drop-rate, or a larger --resolution"
        ) from error
