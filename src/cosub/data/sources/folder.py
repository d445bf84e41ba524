"""Image files on disk, a share held out, and how folders are read under `reading` 1 (before `layout.py`)."""

import os
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

from cosub.data.decoding import EXTENSIONS, Read, decode, rgb
from cosub.data.sources.sampling import hold_out_share
from cosub.data.sources.source import Source, compact, existing
from cosub.errors import InputError
from cosub.recipes.data import Folder


class Paths(Sequence[Path]):
    """Paths as one run of bytes, of which each is made when it is read; the reason is that of `compact`."""

    def __init__(self, paths: Iterable[Path]) -> None:
        names, self._ends = bytearray(), array("q", [0])
        for path in paths:
            names += str(path).encode("utf-8", "surrogatepass")  # of a name that is not UTF-8 too
            self._ends.append(len(names))
        self._names = bytes(names)

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, index: int) -> Path: ...
    @overload
    def __getitem__(self, index: slice) -> list[Path]: ...
    def __getitem__(self, index: int | slice) -> Path | list[Path]:
        places = range(len(self))[index]
        if isinstance(places, range):
            return [self[place] for place in places]
        return Path(self._names[self._ends[places] : self._ends[places + 1]].decode("utf-8", "surrogatepass"))

    def __eq__(self, other: object) -> bool:
        return list(self) == list(other) if isinstance(other, Sequence) else NotImplemented


@dataclass(frozen=True)
class Files:
    """Image files on disk."""

    paths: Sequence[Path]
    labels: Sequence[int]

    def __post_init__(self) -> None:
        if not isinstance(self.paths, Paths):
            object.__setattr__(self, "paths", Paths(self.paths))
        object.__setattr__(self, "labels", compact(self.labels))

    def image(self, index: int, read: Read = rgb) -> Any:
        path = self.paths[index]
        return decode(lambda: path, str(path), read)

    def name(self, index: int) -> str:
        return str(self.paths[index])


def folder(config: Folder) -> Source:
    """Open a folder by the rules of `reading` 1, which do not change: splits are train, val, validation, test."""
    root = existing(config.path)
    train_root = root / "train" if (root / "train").is_dir() else root
    classes, train = class_folders(train_root)
    if train_root is root:
        train, held = held_out(train, classes, config, root)
        return Source(classes, train, held, held)
    found = {name: root / name for name in ("val", "validation", "test") if (root / name).is_dir()}
    if not found:
        train, held = held_out(train, classes, config, root)
        return Source(classes, train, held, held)
    sets = {name: _of_classes(folder, classes, train_root) for name, folder in found.items()}
    validation = sets.get("val", sets.get("validation"))
    test = sets.get("test", validation)
    assert test is not None
    return Source(classes, train, test, validation)


def _of_classes(root: Path, classes: tuple[str, ...], train_root: Path) -> Files:
    """The images of another split, labelled by the training classes."""
    names, files = class_folders(root)
    if extra := sorted(set(names) - set(classes)):
        raise InputError(f"data.path: {root}: has classes that {train_root} lacks: {', '.join(extra[:5])}")
    return Files(files.paths, [classes.index(names[label]) for label in files.labels])


def held_out(files: Files, classes: Sequence[str], config: Folder, root: Path) -> tuple[Files, Files]:
    """The images to train on, and a share of each class that is held out. Raises InputError as `hold_out_share`."""
    kept, held = hold_out_share(files, classes, config.val_share, config.split_seed, root)
    return _subset(files, kept), _subset(files, held)


def _subset(files: Files, indices: Sequence[int]) -> Files:
    return Files([files.paths[i] for i in indices], [files.labels[i] for i in indices])


def class_folders(root: Path) -> tuple[tuple[str, ...], Files]:
    """The classes of a folder and their images, by the rules of `reading` 1."""
    folders = sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not folders:
        raise InputError(f"data.path: {root}: has no class folders; expected CLASS/image.jpg, or train/CLASS/image.jpg")
    paths: list[Path] = []
    labels: list[int] = []
    for label, folder in enumerate(folders):
        found = sorted(path for path in files_below(folder) if path.suffix.lower() in EXTENSIONS)
        if not found:
            raise InputError(f"data.path: {folder}: has no images ({' '.join(EXTENSIONS)}); fill or remove it")
        paths += found
        labels += [label] * len(found)
    return tuple(folder.name for folder in folders), Files(paths, labels)


def files_below(root: Path) -> Iterator[Path]:
    """All files below a folder. A folder that cannot be listed is an error, which pathlib would ignore silently."""

    def refuse(error: OSError) -> None:
        raise error

    for folder, _, names in os.walk(root, onerror=refuse):
        yield from (Path(folder, name) for name in names)
