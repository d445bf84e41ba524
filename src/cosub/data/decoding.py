"""Decode images, and name those that cannot be read."""

import functools
import importlib
import os
import re
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from PIL import Image

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm")

_HEIF = (".heic", ".heif")
_AN_OBJECT = re.compile(r" ?<[^<>]* at 0x[0-9a-f]+>")  # its address would name one image anew in each epoch
_WHERE_PILLOW_CAN = (".jfif", ".jpe", ".avif", *_HEIF)

# Takes an image that is opened and not yet decoded, and decodes what is needed of it.
Read = Callable[[Image.Image], Any]


@functools.cache
def readable() -> frozenset[str]:
    """Extensions of image files: EXTENSIONS, and others if this Pillow reads them, with pillow-heif if installed."""
    with suppress(ImportError):
        importlib.import_module("pillow_heif").register_heif_opener()
    return frozenset(EXTENSIONS) | set(_WHERE_PILLOW_CAN) & Image.registered_extensions().keys()


def remedy(name: str) -> str:
    """How to make an image file of that name readable; empty where that is not known."""
    extension = os.path.splitext(name)[1].lower()
    return " (pip install pillow-heif reads it)" if extension in _HEIF and extension not in readable() else ""


class BadImage(Exception):
    """An image that cannot be read; the message names it."""


def rgb(image: Image.Image) -> Image.Image:
    """The whole image in RGB, converted only if it has another mode."""
    image.load()
    return image if image.mode == "RGB" else image.convert("RGB")


def decode(opened: Callable[[], Any], name: str | Callable[[], str], read: Read = rgb) -> Any:
    """What `read` returns for an image; by default all of it, in RGB.

    `opened` returns a path or a file. `name` may be a function, where finding the name takes a read. Pillow's warnings
    are suppressed: a damaged image would repeat them in each epoch.

    Raises:
        BadImage: naming the image, for any error of Pillow, its decoders or `opened`.
    """
    readable()  # registers what Pillow needs, in a worker too
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(opened()) as image:
                return read(image)
    except BadImage:  # `opened` knows better
        raise
    except Exception as error:
        known = name if isinstance(name, str) else name()
        reason = _AN_OBJECT.sub("", str(error))
        raise BadImage(f"{known} ({type(error).__name__}: {reason}){remedy(known)}") from error
