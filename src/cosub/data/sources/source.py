"""What every source gives: two sets of examples, train and test, and the names of the classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from cosub.data.decoding import Read, rgb


class Examples(Protocol):
    """A set of images: its labels, and image and name by index."""

    @property
    def labels(self) -> Sequence[int]: ...

    def image(self, index: int, read: Read = rgb) -> Any:
        """What `read` makes of the image, by default all of it in RGB. `read` gets it opened and not yet decoded.

        Raises:
            BadImage: if it cannot be decoded.
        """
        ...

    def name(self, index: int) -> str:
        """Where the image lies, for people."""
        ...


@dataclass(frozen=True)
class Source:
    classes: tuple[str, ...]
    train: Examples
    test: Examples
