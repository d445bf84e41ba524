"""Bytes to an image, and the message for one that cannot be read."""

import functools
import importlib
import os
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from PIL import Image

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm")

_HEIF = (".heic", ".heif")
_WHERE_PILLOW_CAN = (".jfif", ".jpe", ".avif", *_HEIF)

# Takes an image that was opened, of which no pixel was decoded, and decodes what is wanted of it.
Read = Callable[[Image.Image], Any]


@functools.cache
def readable() -> frozenset[str]:
    """Extensions of image files: those above, and more that Pillow reads here, with pillow-heif if that is there."""
    with suppress(ImportError):
        importlib.import_module("pillow_heif").register_heif_opener()
    return frozenset(EXTENSIONS) | set(_WHERE_PILLOW_CAN) & Image.registered_extensions().keys()


def remedy(name: str) -> str:
    """What would make an image file of that name readable, where it is known; else nothing."""
    extension = os.path.splitext(name)[1].lower()
    return " (pip install pillow-heif reads it)" if extension in _HEIF and extension not in readable() else ""


class BadImage(Exception):
    """An image that cannot be read; the message names it."""


def rgb(image: Image.Image) -> Image.Image:
    """The whole image in RGB, converted only where it is in another mode."""
    image.load()
    return image if image.mode == "RGB" else image.convert("RGB")


def decode(opened: Callable[[], Any], name: str | Callable[[], str], read: Read = rgb) -> Any:
    """What `read` makes of an image; by default all of it, in RGB.

    `opened` gives a path or a file; `name` may be a function, where it takes reading to know it. Pillow's warnings are
    not passed on: a damaged image would repeat them in each epoch.

    Raises:
        BadImage: naming the image, for whatever Pillow raises; its decoders and `opened` raise what they like.
    """
    readable()  # registers what Pillow needs, in a worker too
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(opened()) as image:
                return read(image)
    except Exception as error:
        told = name if isinstance(name, str) else name()
        raise BadImage(f"{told} ({type(error).__name__}: {error}){remedy(told)}") from error
