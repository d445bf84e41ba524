"""What every source gives: two sets of examples, train and test, and the names of the classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from PIL import Image


class Examples(Protocol):
    """A set of images: its labels, and image and name by index."""

    @property
    def labels(self) -> Sequence[int]: ...

    def image(self, index: int) -> Image.Image:
        """The image, RGB.

        Raises:
            BadImage: if it cannot be decoded.
        """
        ...


@dataclass(frozen=True)
class Source:
    classes: tuple[str, ...]
    train: Examples
    test: Examples
