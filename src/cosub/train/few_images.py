"""Epochs, batch and group of fine-tuning follow from the number of training images, and never from a clock."""

from cosub.choices import Rounding
from cosub.submodel import count

PER_EPOCH, FEWEST, MOST = 100, 3, 30
_SIZES = (64, 32, 16, 8)
_STEPS = 4  # of an epoch, at least
_WARM_UP = 2.0


def epochs_for(images: int) -> int:
    """An epoch for each 100 training images, 3 at least and 30 at most."""
    return min(max(-(-images // PER_EPOCH), FEWEST), MOST)


def warmup_for(epochs: int) -> float:
    """A fifth of the epochs, two at most."""
    return min(_WARM_UP, epochs / 5)


def batch_for(images: int, copies: int, rate: float, rounding: Rounding) -> int:
    """The largest of 64, 32, 16 and 8 images of which four batches make an epoch; where none does, the smallest.

    A batch is one group. Sizes are left out of whose rows a layer would drop none at this rate, rows being whole.
    """
    sizes = [size for size in _SIZES if _drops(size * copies, rate, rounding)] or list(_SIZES[:1])
    return next((size for size in sizes if images >= _STEPS * size), sizes[-1])


def _drops(rows: int, rate: float, rounding: Rounding) -> bool:
    return count(rows, [rate], rounding)[0] < rows
