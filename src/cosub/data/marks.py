"""What tells the images of a run from others, and lets them move: names of classes, relative names, sizes of files."""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cosub.data.pixels import Prepared
from cosub.data.sources import Part, Source
from cosub.data.sources.folder import Files
from cosub.data.sources.walking import listed
from cosub.data.telling import splits
from cosub.recipes.data import DataConfig, Digits

_CONTAINERS = (".parquet", ".tar", ".bin")  # hold the images that have no files of their own


def mark(source: Source, config: DataConfig) -> str:
    """A hash of names of classes and, of each image, label, name below `data.path` and size in bytes.

    No file is read. Where images have no files of their own, those that hold them stand for them.
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
    path = getattr(config, "path", "").encode("utf-8", "backslashreplace").decode()
    return {"source": config.kind, "path": path, "classes": len(source.classes), "images": images,
            "fingerprint": fingerprint}  # fmt: skip


def gone(config: DataConfig) -> bool:
    """Whether no path is named, or nothing lies there any more."""
    if isinstance(config, Digits):
        return False
    path = Path(config.path).expanduser()
    return not config.path or not path.exists() or (path.is_dir() and not any(path.iterdir()))


def _root(config: DataConfig) -> str:
    path = os.path.abspath(os.path.expanduser(getattr(config, "path", "")))
    return os.path.dirname(path) if config.kind == "table" else path


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
                images = getattr(examples, "images", None)  # of scenes
                return _named(images[index], root) if isinstance(images, list) else []


def _named(path: Path, root: str) -> list[Any]:
    name = os.path.abspath(path)
    try:
        size = path.stat().st_size
    except OSError:  # named as a bad image when its turn comes
        size = -1
    return [name[len(root) :].replace(os.sep, "/") if name.startswith(root + os.sep) else name, size]


def _containers(config: DataConfig) -> Iterator[Path]:
    if config.kind in ("hub", "shards", "torchvision", "scenes") and (root := Path(_root(config))).is_dir():
        yield from (path for path in listed(root, "**/*") if path.suffix in _CONTAINERS)
