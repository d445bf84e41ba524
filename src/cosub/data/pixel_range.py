"""The range of values in images of more than 8 bits: for a warning, and for `--data.range auto`."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from cosub.data.decoding import BadImage
from cosub.data.pixels import Limits, Prepared, is_deep, is_deep_colour, limits_of, plain, rule_of
from cosub.data.sources import Examples, open_source, spaced
from cosub.errors import InputError
from cosub.recipes.data import DataConfig, Pictures

INSPECTED = 64  # training images, spread over the set, for a warning
LEAST = 1 / 8  # of the type's range; a warning where images use less


class _Deep(NamedTuple):
    """An image of more than 8 bits: minimum and maximum of its values and of its type, whether it is in colour."""

    extent: Limits
    type: Limits | None
    colour: bool


def resolve_range(config: DataConfig) -> DataConfig:
    """The same data with numbers for `data.range auto`: minimum and maximum over the training images.

    Raises:
        InputError: if no training image has more than 8 bits, one of them is in colour, or all have the same value.
    """
    if not isinstance(config, Pictures) or config.range != "auto":
        return config
    found = _extents(open_source(plain(config)).train)
    if not found:
        raise InputError("data.range: 'auto': no training image is grey with more than 8 bits; leave it out")
    _require_grey(config.range, found)
    low, high = _union([seen.extent for seen in found])
    if low == high:
        raise InputError(f"data.range: 'auto': all pixels of the training images are {low:g}; name two numbers")
    return replace(config, range=(low, high))


def depth_cautions(config: DataConfig, examples: Examples) -> list[str]:
    """A warning if training images use little of their type's range, or if a range is set and applies to none.

    Raises:
        InputError: if their type has no usual range and the recipe sets none, or it sets one and some are in colour.
    """
    rule = rule_of(config)
    if rule is None:
        return []
    found = _extents(_without_rule(examples), INSPECTED)
    if rule.range != "type":
        _require_grey(rule.range, found)
        none = "data.range: none of the training images that were checked is grey with more than 8 bits"
        return [] if found else [none]
    if not found:
        return []
    low, high = _union([seen.extent for seen in found])
    if any(seen.type is None for seen in found):
        raise InputError(
            f"data.range: 'type': grey images of 32 bits or floats, here {low:g} to {high:g}, have no usual range; "
            "take --data.range auto, or --data.range LOW HIGH"
        )
    least, most = _union([seen.type for seen in found if seen.type is not None])
    if high - low >= (most - least) * LEAST:
        return []
    remedy = "take --data.range auto, or --data.range LOW HIGH"
    if any(seen.colour for seen in found):
        remedy = "only the upper 8 bits of 16-bit colour are read, so rescale these images to the whole range"
    return [
        f"{len(found)} training images use the values {low:g} to {high:g} of {least:g} to {most:g}, less than an "
        f"eighth, so contrast is lost: {remedy}"
    ]


def _require_grey(range_: Any, found: Sequence[_Deep]) -> None:
    if any(seen.colour for seen in found):
        raise InputError(
            f"data.range: {range_!r}: is for grey images, and some training images are 16-bit colour, of which Pillow "
            "reads the upper 8 bits; leave it out, or convert those to 8 bits"
        )


def extent_of(image: Image.Image) -> Limits:
    """Minimum and maximum of the values."""
    colour = is_deep_colour(image)
    values = np.asarray(image.convert("RGB") if colour else image)
    scale = 257 if colour else 1  # Pillow has read the upper byte
    return float(np.nanmin(values)) * scale, float(np.nanmax(values)) * scale


def _extents(examples: Examples, most: int = 0) -> list[_Deep]:
    """The images of more than 8 bits among the first `most`, evenly spaced, or among all."""
    total = len(examples.labels)
    found = []
    for place in spaced(total, most or total):
        try:
            found.append(examples.image(place, _extent))
        except BadImage:  # counted and named in training
            continue
    return [seen for seen in found if seen is not None]


def _extent(image: Image.Image) -> _Deep | None:
    colour = is_deep_colour(image)
    if not is_deep(image) and not colour:
        return None
    limits = limits_of(image)
    return _Deep(extent_of(image), limits, colour)


def _union(limits: Sequence[Limits]) -> Limits:
    return min(low for low, _ in limits), max(high for _, high in limits)


def _without_rule(examples: Any) -> Examples:
    """The set, read without the rule for pixels."""
    if isinstance(examples, Prepared):
        return examples.whole
    return replace(examples, rule=None) if hasattr(examples, "rule") else examples
