"""How much of their type the values of deep images use: for a warning, and for `--data.range auto`."""

from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image

from cosub.data.decoding import BadImage
from cosub.data.pixels import Limits, Prepared, is_deep, is_deep_colour, limits_of, plain
from cosub.data.sources import Examples, open_source
from cosub.errors import InputError
from cosub.recipes.config import DataConfig, Digits

LOOKED_AT = 64  # training images, spread over the set, for a warning
LEAST = 1 / 8  # of the type's range


def settled(config: DataConfig) -> DataConfig:
    """The same data with numbers for `data.range auto`: the least and the largest value of the training images.

    Raises:
        InputError: if no training image has more than 8 bits, or all of them have one value alone.
    """
    if isinstance(config, Digits) or config.range != "auto":
        return config
    found = _extents(open_source(plain(config)).train)
    if not found:
        raise InputError("data.range: 'auto': no training image is grey with more than 8 bits; leave it out")
    low, high = _union([extent for extent, _ in found])
    if low == high:
        raise InputError(f"data.range: 'auto': all training images are {low:g} everywhere; name two numbers")
    return replace(config, range=(low, high))


def depth_cautions(config: DataConfig, examples: Examples) -> list[str]:
    """A sentence where some training images use little of their type's range, or a range is given for none.

    Raises:
        InputError: if their type has no usual range, and the recipe names none.
    """
    if isinstance(config, Digits) or config.pixels == 1:
        return []
    found = _extents(_as_filed(examples), LOOKED_AT)
    if config.range != "type":
        none = "data.range: none of the training images that were looked at is grey with more than 8 bits"
        return [] if found else [none]
    if not found:
        return []
    low, high = _union([extent for extent, _ in found])
    if any(limits is None for _, limits in found):
        raise InputError(
            f"data.range: 'type': grey images of 32 bits or floats, here {low:g} to {high:g}, have no usual range; "
            "take --data.range auto, or --data.range LOW HIGH"
        )
    least, most = _union([limits for _, limits in found if limits is not None])
    if high - low >= (most - least) * LEAST:
        return []
    return [
        f"{len(found)} training images use the values {low:g} to {high:g} of {least:g} to {most:g}, less than an "
        f"eighth, so contrast is lost: take --data.range auto, or --data.range LOW HIGH"
    ]


def extent_of(image: Image.Image) -> Limits:
    """The least and the largest value."""
    scale = 257 if is_deep_colour(image) else 1  # Pillow has read the upper byte
    values = np.asarray(image)
    return float(np.nanmin(values)) * scale, float(np.nanmax(values)) * scale


def _extents(examples: Examples, most: int = 0) -> list[tuple[Limits, Limits | None]]:
    """Of the deep images among so many, or among all: least and largest value, and those of the type."""
    total = len(examples.labels)
    number = min(most or total, total)
    found = []
    for place in range(number):
        try:
            found.append(examples.image(place * total // number, _extent))
        except BadImage:  # counted and named when its turn comes
            continue
    return [extent for extent in found if extent is not None]


def _extent(image: Image.Image) -> tuple[Limits, Limits | None] | None:
    if not is_deep(image) and not is_deep_colour(image):
        return None
    limits = limits_of(image)
    return extent_of(image), limits


def _union(limits: list[Limits]) -> Limits:
    return min(low for low, _ in limits), max(high for _, high in limits)


def _as_filed(examples: Any) -> Examples:
    """The set without the rule by which its pixels are read."""
    if isinstance(examples, Prepared):
        return examples.whole
    return replace(examples, rule=None) if hasattr(examples, "rule") else examples
