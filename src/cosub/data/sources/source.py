"""What every source has: two sets of examples, train and test, and the names of the classes."""

import os
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from cosub.data.decoding import Read, rgb
from cosub.data.sources.detection import reader_hint
from cosub.data.sources.walking import LeftOut
from cosub.errors import InputError

HELD_OUT = "held out of"  # begins the place of images that no split of their own holds


class Examples(Protocol):
    """A set of images: its labels, and image and name by index."""

    @property
    def labels(self) -> Sequence[int]: ...

    def image(self, index: int, read: Read = rgb) -> Any:
        """What `read` returns for the image, by default all of it in RGB. `read` gets it opened and not yet decoded.

        Raises:
            BadImage: if it cannot be decoded.
        """
        ...

    def name(self, index: int) -> str:
        """The image's name in messages, such as its path."""
        ...


@dataclass(frozen=True)
class Source:
    """An opened data set."""

    classes: tuple[str, ...]
    train: Examples
    test: Examples
    validation: Examples | None = None
    """Images for model selection; the test images themselves where a folder has no others."""
    places: Mapping[str, str] = field(default_factory=dict)
    """Where train, validation and test were found, for messages; empty where the source has no folders."""
    left_out: tuple[LeftOut, ...] = ()
    """Files and folders that are not read."""
    groups: Sequence[str] | None = None
    """The group of each training image, if any: images of one group are held out together."""

    @property
    def validation_or_test(self) -> Examples:
        """What a run evaluates on before it ends: validation images where there are any, else the test images."""
        return self.test if self.validation is None else self.validation


def compact(values: Sequence[Any]) -> Sequence[Any]:
    """Whole numbers as an array, other values as they are.

    Reading an object changes its reference count, so each forked worker would copy a list of millions of numbers.
    """
    try:
        return array("q", values)
    except (TypeError, OverflowError):
        return values


def spaced(total: int, most: int) -> list[int]:
    """The places of up to `most` examples of a set, evenly spaced."""
    number = min(most, total)
    return [place * total // number for place in range(number)]


def check_labels(name: str, labels: Sequence[Any], classes: Sequence[str], where: str) -> None:
    """Check that a set has images, each with a label of one of the classes, of which there are several.

    Raises:
        InputError: if not, naming the set.
    """
    if None in labels:
        raise InputError(f"data: {where}: the {name} set has a row without a label; remove it")
    if len(classes) < 2:
        raise InputError(f"data: {where}: has a single class ({', '.join(classes)}); add a folder or label of another")
    if not len(labels):
        raise InputError(f"data: {where}: the {name} set is empty")
    outside = sorted({label for label in labels if not 0 <= label < len(classes)})
    if outside:
        raise InputError(
            f"data: {where}: the {name} set has label {outside[0]}, and there are classes 0 to {len(classes) - 1}; "
            "remove those rows or correct the class names"
        )


def existing(path: str, what: str = "the folder of images") -> Path:
    """The folder that --data.path names.

    Raises:
        InputError: if it does not exist or is not a folder.
    """
    if not path:
        raise InputError(f"data.path: is not given; name {what} with --data.path PATH")
    root = Path(os.path.expanduser(path))
    if not root.is_dir():
        hint = reader_hint(root) if root.is_file() else ""
        raise InputError(f"data.path: {path}: is not a folder; name {what} with --data.path PATH{hint}")
    return root


def inside(root: Path, name: str) -> Path:
    """A file that a list names, below the list's folder.

    Raises:
        InputError: if the name leads out of the folder.
    """
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise InputError(f"data.path: {root}: a list there names {name!r}, which lies outside; get the list again")
    return root / name


def numbered(labels: Sequence[Any], path: str) -> list[str]:
    """Names for labels that have none: the numbers themselves."""
    numbers = {label for label in labels if label is not None}
    if len(numbers) and max(numbers) >= 10 * len(numbers) + 1000:
        raise InputError(
            f"data.path: {path}: has {len(numbers)} labels up to {max(numbers)}: number the classes from 0"
        )
    return [str(number) for number in range(max(numbers, default=-1) + 1)]
