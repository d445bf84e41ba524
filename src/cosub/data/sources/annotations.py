"""Tiny ImageNet's validation images: VAL/images/*, and their classes in VAL/val_annotations.txt."""

from collections.abc import Sequence

from cosub.data.sources.folder import Files
from cosub.data.sources.walking import Branch
from cosub.errors import InputError


def annotated(split: Branch, classes: Sequence[str]) -> Files | None:
    """The images of a split, labelled by its list (file name, tab, class, ...); None where it has no list.

    Raises:
        InputError: for an image that the list lacks, or whose class the training images lack.
    """
    path = split.path / f"{split.path.name.lower()}_annotations.txt"
    if not path.is_file():
        return None
    lines = path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    known = {fields[0]: fields[1] for fields in (line.split("\t") for line in lines) if len(fields) > 1}
    index = {name: label for label, name in enumerate(classes)}
    for image in split.everything:
        if known.get(image.name) not in index:
            raise InputError(
                f"data.path: {path}: has {known.get(image.name, 'no class')!r} for {image.name}, which is not a "
                "class of the training images; get the list again, or sort the images into class folders"
            )
    return Files(split.everything, [index[known[image.name]] for image in split.everything])
