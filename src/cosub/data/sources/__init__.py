"""Where images come from. A source has two sets, train and test, and the names of its classes."""

import dataclasses
import hashlib
import json

from cosub.data.decoding import EXTENSIONS, BadImage, decode
from cosub.data.imagenet import class_indices, describe
from cosub.data.pixels import by_rule
from cosub.data.sources.digits import digits
from cosub.data.sources.folder import Files, class_folders, folder
from cosub.data.sources.hub import hub
from cosub.data.sources.inaturalist import inaturalist
from cosub.data.sources.layout import images_of_classes, open_folder
from cosub.data.sources.sampling import Part, sampled, with_validation
from cosub.data.sources.shards import shards
from cosub.data.sources.source import Examples, Source, check_labels, existing, spaced
from cosub.data.sources.table import images_of_table, open_table
from cosub.data.sources.torchvision import torchvision
from cosub.errors import InputError
from cosub.recipes import plugins
from cosub.recipes.data import DataConfig, Digits, Folder, Hub, INaturalist, Sampled, Shards, Table, Torchvision

__all__ = [
    "EXTENSIONS",
    "BadImage",
    "Examples",
    "Part",
    "Source",
    "all_images",
    "decode",
    "fingerprint",
    "open_source",
    "spaced",
    "with_validation",
]


def open_source(config: DataConfig, classes: int = 0) -> Source:
    """Open the data of a recipe.

    Args:
        config: which data.
        classes: how many classes they must have; 0 for any number.

    Raises:
        InputError: for a path that is missing, cannot be read or holds no data set, a single class, a label outside
            the classes, or another number of classes than `classes`.
    """
    where = config.place or config.kind
    try:
        opened = _open(config)
        source = _by_rule(sampled(_checked(opened, where), config) if isinstance(config, Sampled) else opened, config)
    except OSError as error:
        raise InputError(f"data.path: {error.filename or where}: cannot be read ({error.strerror or error})") from error
    found = len(source.classes)
    if classes and found != classes:
        raise InputError(
            f"classes: {classes}: the recipe is for {describe(classes)}, and {where} has {describe(found)}; name other "
            f"data, or set --classes {found} (0: any number)"
        )
    return source


def _open(config: DataConfig) -> Source:
    match config:
        case Digits():
            return digits(config)
        case Folder():
            return folder(config) if config.reading == 1 else open_folder(config)
        case Table():
            return open_table(config)
        case Hub():
            return hub(config)
        case Shards():
            return shards(config)
        case INaturalist():
            return inaturalist(config)
        case Torchvision():
            return torchvision(config)
        case _:
            return plugins.find(plugins.SOURCES[config.kind])(config)


def _by_rule(source: Source, config: DataConfig) -> Source:
    """The source, its images read by the rule of the recipe's data."""
    test = by_rule(source.test, config)
    same, others = source.validation is source.test, source.validation is not None
    validation = test if same else by_rule(source.validation, config) if others else None  # pyright: ignore[reportArgumentType]
    return dataclasses.replace(source, train=by_rule(source.train, config), test=test, validation=validation)


def fingerprint(source: Source) -> str:
    """A hash that identifies a data set without reading its images: names of classes, labels in order."""
    values = [source.classes, list(source.train.labels), list(source.test.labels)]
    if source.validation not in (None, source.test):
        values.append(list(source.validation.labels))
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()


def all_images(config: DataConfig, classes: tuple[str, ...]) -> Examples | None:
    """All images of a folder or table without splits, labelled by the given classes; else None."""
    found = _all_images(config, classes)
    return None if found is None else by_rule(found, config)


def _all_images(config: DataConfig, classes: tuple[str, ...]) -> Examples | None:
    if isinstance(config, Table):
        return images_of_table(config, classes)
    if not isinstance(config, Folder):
        return None
    if config.reading > 1:
        return images_of_classes(config, classes)
    root = existing(config.path)
    if any((root / name).is_dir() for name in ("train", "val", "validation", "test")):
        return None
    found, files = class_folders(root)
    indices = class_indices(found, classes, str(root), "data.path")
    return Files(files.paths, [indices[label] for label in files.labels])


def _checked(source: Source, where: str) -> Source:
    for name, part in (("train", source.train), ("validation", source.validation), ("test", source.test)):
        if part is not None:
            check_labels(name, part.labels, source.classes, where)
    return source
