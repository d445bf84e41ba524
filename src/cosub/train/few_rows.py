"""BatchNorm in training needs more than one value per channel."""

from collections.abc import Iterator
from contextlib import contextmanager

from cosub.errors import InputError, RunError

_TORCH_SAYS = "Expected more than 1 value per channel when training"


@contextmanager
def enough_rows(step: int) -> Iterator[None]:
    """Turn torch's error for BatchNorm with a single value into one with a remedy.

    Raises:
        InputError: in the first step.
        RunError: in a later one, where rounding bernoulli kept a single row; it would do so again.
    """
    try:
        yield
    except ValueError as error:
        if not str(error).startswith(_TORCH_SAYS):
            raise
        what = "BatchNorm gets one row of one pixel in some layer, which has no deviation to divide by"
        if step == 0:
            raise InputError(
                f"group_size: {what}; set a larger --group-size, fewer --micro-steps, a smaller --drop-rate, or a "
                "larger --resolution"
            ) from error
        raise RunError(
            f"step {step}: {what}: rounding bernoulli kept so few by chance, and the same command would stop here "
            "again; start anew in another --out with --rounding nearest or a larger --group-size"
        ) from error
