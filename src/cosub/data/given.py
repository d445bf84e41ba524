"""Images as people name them: files, folders, patterns; in Python PIL images and arrays too."""

import glob
import os
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cosub.data.decoding import EXTENSIONS, BadImage, readable, remedy, rgb
from cosub.data.pixels import Rule, decoded, prepared, rule_of
from cosub.data.sources.walking import Branch, Notes, list_left_out
from cosub.errors import InputError
from cosub.recipes.data import DataConfig


def image_files(name: str, notes: Notes) -> list[Path]:
    """The images that a word names: a file, those of a folder, or those of what matches a pattern.

    Raises:
        InputError: if there are none.
    """
    path = Path(name)
    if path.is_file():
        return [path]
    if path.is_dir():
        inside = Branch(path, notes)
        if not inside.everything:
            left = list_left_out(notes.left_out())
            but = f", but {left}" if left else ""
            raise InputError(f"images: {name}: the folder has no images ({' '.join(EXTENSIONS)}){but}")
        return inside.everything
    if not glob.has_magic(name):
        raise InputError(f"images: {name}: is neither a file nor a folder")
    found: list[Path] = []
    for match in map(Path, sorted(glob.glob(name, recursive=True))):
        if match.is_dir():
            found += [] if "**" in name else Branch(match, notes).everything
        elif match.suffix.lower() in readable():
            found.append(match)
        else:
            notes.add(f"extension {match.suffix.lower() or 'missing'}{remedy(match.name)}", match)
    if not found:
        raise InputError(f"images: {name}: no image matches; name files, a folder or another pattern")
    return found


def opened(images: Any, data: DataConfig) -> Iterator[tuple[str, Image.Image]]:
    """One image, or each of several, in RGB, read as a run on these data reads them; each with its file's name.

    What cannot be read in a folder, or of what matches a pattern, is left out with a warning.

    Raises:
        InputError: for a file that cannot be read, or a value that is no image.
    """
    several = images.ndim == 4 if isinstance(images, np.ndarray) else isinstance(images, Iterable)
    if isinstance(images, str) or not several:
        images = [images]
    rule, notes = rule_of(data), Notes()
    for image in images:
        if not isinstance(image, str | os.PathLike):
            yield "", _in_memory(image, rule)
            continue
        path = Path(image).expanduser()
        for file in image_files(str(path), notes):
            try:
                yield str(file), decoded(file, rule)
            except BadImage as error:
                if file == path:
                    raise InputError(f"images: {error}: cannot be read as an image") from error
                warnings.warn(f"images: {error}: cannot be read as an image, and is left out", stacklevel=3)
    if left_out := notes.left_out():
        warnings.warn(f"images: not read: {list_left_out(left_out)}", stacklevel=3)


def _in_memory(image: Any, rule: Rule | None) -> Image.Image:
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
