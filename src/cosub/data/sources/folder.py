"""Folders of images, one folder a class."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosub.data.decoding import EXTENSIONS, Read, decode, rgb
from cosub.data.sources.source import Source
from cosub.errors import InputError
from cosub.recipes.config import Folder


@dataclass(frozen=True)
class Files:
    """Image files on disk."""

    paths: Sequence[Path]
    labels: Sequence[int]

    def image(self, index: int, read: Read = rgb) -> Any:
        path = self.paths[index]
        return decode(lambda: path, str(path), read)

    def name(self, index: int) -> str:
        return str(self.paths[index])


def folder(config: Folder) -> Source:
    root = existing(config.path)
    train_root = root / "train" if (root / "train").is_dir() else root
    test_root = next((root / name for name in ("val", "validation", "test") if (root / name).is_dir()), None)
    if train_root is root:
        test_root = None
    classes, train = class_folders(train_root)
    if test_root is not None:
        test_classes, test = class_folders(test_root)
        if extra := sorted(set(test_classes) - set(classes)):
            raise InputError(f"data.path: {test_root}: has classes that {train_root} lacks: {', '.join(extra[:5])}")
        index = {name: classes.index(name) for name in test_classes}
        test = Files(test.paths, [index[test_classes[label]] for label in test.labels])
        return Source(classes, train, test)
    return Source(classes, *_split(train, config, root))


def _split(files: Files, config: Folder, root: Path) -> tuple[Files, Files]:
    from sklearn.model_selection import train_test_split

    few = [label for label, number in Counter(files.labels).items() if number < 2]
    if few:
        name = files.paths[files.labels.index(few[0])].parent.name
        raise InputError(f"data.path: {root}: class {name} has one image, and a test split needs two a class")
    held_out = max(round(len(files.paths) * config.val_share), len(set(files.labels)))
    try:
        train, test = train_test_split(
            range(len(files.paths)), test_size=held_out, random_state=config.split_seed, stratify=files.labels
        )
    except ValueError as error:
        raise InputError(f"data.val_share: {config.val_share}: cannot split {root} so ({error})") from error
    return _subset(files, sorted(train)), _subset(files, sorted(test))


def _subset(files: Files, indices: Sequence[int]) -> Files:
    return Files([files.paths[i] for i in indices], [files.labels[i] for i in indices])


def class_folders(root: Path) -> tuple[tuple[str, ...], Files]:
    folders = sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not folders:
        raise InputError(f"data.path: {root}: has no class folders; expected CLASS/image.jpg, or train/CLASS/image.jpg")
    paths: list[Path] = []
    labels: list[int] = []
    for label, folder in enumerate(folders):
        found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in EXTENSIONS)
        if not found:
            raise InputError(f"data.path: {folder}: has no images ({' '.join(EXTENSIONS)}); fill or remove it")
        paths += found
        labels += [label] * len(found)
    return tuple(folder.name for folder in folders), Files(paths, labels)


def existing(path: str) -> Path:
    if not path:
        raise InputError("data.path: is not given; name the folder of images with --data.path PATH")
    root = Path(path).expanduser()
    if not root.is_dir():
        raise InputError(f"data.path: {path}: is not a folder; name the folder of images with --data.path PATH")
    return root
