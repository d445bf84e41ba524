"""Bytes to an image, and what is said of one that cannot be read."""

from collections.abc import Callable
from typing import Any

from PIL import Image

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm")


class BadImage(Exception):
    """An image that cannot be read; the message names it."""


def decode(read: Callable[[], Any], name: str) -> Image.Image:
    """Decode completely, in RGB; what Pillow raises for a damaged image becomes a BadImage that names it."""
    try:
        with Image.open(read()) as image:
            return image.convert("RGB")
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise BadImage(f"{name} ({type(error).__name__}: {error})") from error
