"""timm's policies posterize some images to 0 bits, which Pillow refuses since version 13."""

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

from PIL import Image
from timm.data import auto_augment
from timm.data.auto_augment import AugmentOp


def allow_zero_bits(transforms: Iterable[Any]) -> None:
    """Let the policies among these transforms posterize to 0 bits: the image is black, as with older Pillow. In place.

    RandAugment of magnitude 9 and deviation 0.5 does that to one image of 600.
    """
    for op in itertools.chain.from_iterable(map(_operations, transforms)):
        if op.aug_fn is auto_augment.posterize:
            op.aug_fn = posterize


def _operations(policy: Any) -> Iterator[AugmentOp]:
    yield from getattr(policy, "ops", ())  # RandAugment, AugMix
    for chosen in getattr(policy, "policy", ()):  # AutoAugment, 3-Augment
        yield from chosen


def posterize(image: Image.Image, bits: int, **options: Any) -> Image.Image:
    return auto_augment.posterize(image, bits, **options) if bits > 0 else Image.new(image.mode, image.size)
