"""A hash that identifies the images of a run, also after they are moved: class names, relative paths, file sizes."""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cosub.data.overview import splits
from cosub.data.pixels import Prepared
from cosub.data.sources import Part, Source
from cosub.data.sources.folder import Files
from cosub.data.sources.walking import listed
from cosub.recipes.data import DataConfig

_CONTAINERS = (".parquet", ".tar", ".bin")  # files that hold many images


def mark(source: Source, config: DataConfig) -> str:
    """A hash of the class names and, for each image, label, path below `data.path` and size in bytes.

    No file is read. Where images lie inside other files, these are hashed by name and size.
    """
    root = _root(config)
    found = hashlib.sha256(json.dumps(source.classes).encode())
    for split, examples in splits(source).items():
        for index, label in enumerate(examples.labels):
            found.update(json.dumps([split, label, *_file(examples, index, root)]).encode())
    for path in _containers(config):
        found.update(json.dumps(_named(path, root)).encode())
    return found.hexdigest()


def about(source: Source, config: DataConfig, fingerprint: str) -> dict[str, Any]:
    """The data of a run, for its summary."""
    images = {split: len(examples.labels) for split, examples in splits(source).items()}
    path = config.place.encode("utf-8", "backslashreplace").decode()
    return {"source": config.kind, "path": path, "classes": len(source.classes), "images": images,
            "fingerprint": fingerprint}  # fmt: skip


def gone(config: DataConfig) -> bool:
    """Whether data that come from files have no path, or nothing is there any more."""
    path = os.path.expanduser(config.place)
    return not config.is_here or (os.path.isdir(path) and not os.listdir(path))


def _root(config: DataConfig) -> str:
    path = os.path.abspath(os.path.expanduser(config.place))
    return os.path.dirname(path) if config.PATH_IS_FILE else path


def _file(examples: Any, index: int, root: str) -> list[Any]:
    while True:
        match examples:
            case Part():
                examples, index = examples.whole, examples.indices[index]
            case Prepared():
                examples = examples.whole
            case Files():
                return _named(examples.paths[index], root)
            case _:
                images = getattr(examples, "images", None)  # paths, where the set has pairs of files
                return _named(images[index], root) if isinstance(images, list) else []


def _named(path: Path, root: str) -> list[Any]:
    name = os.path.abspath(path)
    try:
        size = path.stat().st_size
    except OSError:  # named as a bad image in training
        size = -1
    return [name[len(root) :].replace(os.sep, "/") if name.startswith(root + os.sep) else name, size]


def _containers(config: DataConfig) -> Iterator[Path]:
    if config.PACKED and (root := Path(_root(config))).is_dir():
        yield from (path for path in listed(root, "**/*") if path.suffix in _CONTAINERS)
