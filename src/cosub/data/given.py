"""Images as Python has them: files, PIL images, arrays."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cosub.data.decoding import BadImage, rgb
from cosub.data.pixels import Rule, decoded, prepared, rule_of
from cosub.errors import InputError
from cosub.recipes.data import DataConfig


def opened(images: Any, data: DataConfig) -> Iterator[Image.Image]:
    """One image, or each of several, in RGB, read as a run on these data reads them.

    Raises:
        InputError: for a file that cannot be read, or a value that is no image.
    """
    several = images.ndim == 4 if isinstance(images, np.ndarray) else isinstance(images, Iterable)
    if isinstance(images, str) or not several:
        images = [images]
    for image in images:
        yield _opened(image, rule_of(data))


def _opened(image: Any, rule: Rule | None) -> Image.Image:
    if isinstance(image, str | os.PathLike):
        try:
            return decoded(Path(image).expanduser(), rule)
        except BadImage as error:
            raise InputError(f"images: {error}: cannot be read as an image") from error
    if isinstance(image, np.ndarray):
        image = _of_array(image)
    if not isinstance(image, Image.Image):
        raise InputError(f"images: {type(image).__name__}: must be a file's name, a PIL image or an array of numpy")
    try:
        return rgb(prepared(image, rule))
    except (ValueError, OSError) as error:
        raise InputError(f"images: {image!r}: cannot be read as an image ({error})") from error


def _of_array(values: np.ndarray) -> Image.Image:
    colour = values.ndim == 3 and values.shape[2] in (3, 4)
    if not (values.dtype == np.uint8 and (values.ndim == 2 or colour) and values.size):
        raise InputError(
            f"images: an array of {values.dtype} with shape {values.shape}: must be of uint8, with shape (H, W) or "
            "(H, W, 3)"
        )
    return Image.fromarray(values)
