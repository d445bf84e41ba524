"""What a network is evaluated on: folders of labelled images, ImageNet-V2 in both layouts, ReaL's labels."""

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Int
from torch import Tensor

from cosub.choices import Protocol
from cosub.data.imagenet import class_indices, describe, is_imagenet
from cosub.data.sources import Examples
from cosub.data.sources.folder import Files
from cosub.data.sources.layout import class_images
from cosub.data.sources.splits import find_splits
from cosub.data.sources.walking import Branch, LeftOut, Notes
from cosub.errors import InputError


@dataclass(frozen=True)
class EvaluationSet:
    """Images to score.

    `protocol` says how they were found: "test" and "validation" are those of a run, of which the latter chose its
    epoch; "images" are any others, by the reading of a recipe. `targets` is None where an image's label is its class.
    Otherwise labels are indices of its rows, which hold the correct classes, the first repeated to fill the row.
    """

    protocol: Protocol | Literal["test", "validation", "images"]
    path: str
    examples: Examples
    targets: Int[Tensor, "n most"] | None = None
    skipped: int = 0
    left_out: tuple[LeftOut, ...] = ()
    """Files that were not read."""

    @property
    def own(self) -> bool:
        """Whether they are those of a run."""
        return self.protocol in ("test", "validation")


def open_set(protocol: Protocol, path: str, classes: Sequence[str], real: str = "") -> EvaluationSet:
    """Open a folder for a network of these classes.

    Args:
        protocol: val: a folder of class folders, or one that holds such a folder as val, validation or test. v2: the
            same for ImageNet-V2, whose folders are numbers or synsets. real: ImageNet-1k's validation images, known
            by their file names, in folders or not, scored by ReaL's labels.
        path: the folder.
        classes: the network's.
        real: real.json; by default timm's copy.

    Raises:
        InputError: for a folder that is missing, cannot be read or is of another layout, classes that the network
            lacks, labels that do not fit.
    """
    root = Path(os.path.expanduser(path))
    if not root.is_dir():
        raise InputError(
            f"set: {path or 'PATH'}: is not a folder; name the folder of images, as in --set {protocol}=PATH"
        )
    try:
        notes = Notes()
        branch = _inner(Branch(root, notes))
        if protocol == "real":
            return _real(branch, path, classes, real)
        names, files = class_images(branch)
    except OSError as error:
        raise InputError(f"set: {error.filename or root}: cannot be read ({error.strerror or error})") from error
    indices = class_indices(names, classes, path)
    examples = Files(files.paths, [indices[label] for label in files.labels])
    return EvaluationSet(protocol, path, examples, left_out=notes.left_out(branch.path))


def _inner(root: Branch) -> Branch:
    splits = find_splits(root)
    return splits.get("validation", splits.get("test", root))


# --- ReaL: "Are we done with ImageNet?", Beyer et al.


def _real(root: Branch, path: str, classes: Sequence[str], real: str) -> EvaluationSet:
    if not is_imagenet(classes):
        raise InputError(
            f"set: {path}: ReaL labels ImageNet-1k's classes, and the network has {describe(len(classes))}"
        )
    labels = _labels(real)
    found = root.everything
    places = [_place(item, len(labels)) for item in found]
    scored = [(item, place) for item, place in zip(found, places, strict=True) if labels[place]]
    if not scored:
        raise InputError(f"set: {path}: has no image with a ReaL label; expected ILSVRC2012_val_00000001.JPEG, ...")
    lists = [labels[place] for _, place in scored]
    most = max(map(len, lists))
    targets = torch.tensor([target + target[:1] * (most - len(target)) for target in lists])
    examples = Files([item for item, _ in scored], range(len(scored)))
    return EvaluationSet("real", path, examples, targets, len(found) - len(scored))


def _place(path: Path, total: int) -> int:
    """The entry of ReaL's list for a file, by its name, since folders and sorting change the order."""
    number = re.match(r"ILSVRC2012_val_(\d{8})", path.name)
    if number is None or not 1 <= int(number[1]) <= total:
        raise InputError(
            f"set: {path}: is not named ILSVRC2012_val_00000001 to {total:08d}, and ReaL's labels are found by name"
        )
    return int(number[1]) - 1


def _labels(real: str) -> list[list[int]]:
    try:
        found = json.loads(Path(real).read_text() if real else _bundled())
    except (OSError, ValueError) as error:
        raise InputError(f"real: {real}: cannot be read as JSON ({error}); name ReaL's real.json") from error
    if not isinstance(found, list) or not all(_is_target(target) for target in found):
        raise InputError(f"real: {real}: is not a list of lists of classes from 0 to 999; name ReaL's real.json")
    return found


def _is_target(target: Any) -> bool:
    return isinstance(target, list) and all(type(value) is int and 0 <= value < 1000 for value in target)


def _bundled() -> str:
    """timm's copy, the same as the published file."""
    return files("timm.data").joinpath("_info/imagenet_real_labels.json").read_text()
