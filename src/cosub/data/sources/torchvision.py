"""CIFAR-10 and -100, Flowers-102 and Stanford Cars, as torchvision leaves them on disk."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cosub.data.sources.arrays import Arrays
from cosub.data.sources.folder import Files
from cosub.data.sources.source import Source, existing, inside
from cosub.errors import InputError
from cosub.recipes.data import Torchvision


def torchvision(config: Torchvision) -> Source:
    """Open files of torchvision. Nothing is downloaded.

    Raises:
        InputError: for a file that is missing, damaged or of another layout.
    """
    root = existing(config.path, "torchvision's root folder")
    match config.name:
        case "cifar10":
            return _cifar(root, _CIFAR10)
        case "cifar100":
            return _cifar(root, _CIFAR100)
        case "flowers102":
            return _flowers(root)
        case "cars":
            return _cars(root)


# --- CIFAR


class _Cifar(NamedTuple):
    """The binary version: its folder and files, and how many bytes with labels precede an image (the last one is used).

    torchvision's own version consists of pickles. Only torchvision reads them, after it has compared their md5.
    """

    folder: str
    train: Sequence[str]
    test: str
    names: str
    label_bytes: int
    reader: str


_CIFAR10 = _Cifar(
    "cifar-10-batches-bin",
    [f"data_batch_{number}.bin" for number in range(1, 6)],
    "test_batch.bin",
    "batches.meta.txt",
    1,
    "CIFAR10",
)
_CIFAR100 = _Cifar("cifar-100-binary", ["train.bin"], "test.bin", "fine_label_names.txt", 2, "CIFAR100")


def _cifar(root: Path, kind: _Cifar) -> Source:
    folder = root / kind.folder
    if not folder.is_dir():
        return _pickled_cifar(root, kind)
    classes = tuple(name for name in _bytes(folder / kind.names).decode("utf-8", "replace").split("\n") if name.strip())
    train = _records([folder / name for name in kind.train], kind.label_bytes, "train")
    return Source(classes, train, _records([folder / kind.test], kind.label_bytes, "test"))


def _records(paths: Iterable[Path], label_bytes: int, split: str) -> Arrays:
    parts, length = [], label_bytes + 3 * 32 * 32
    for path in paths:
        content = _bytes(path)
        if not content or len(content) % length:
            raise InputError(f"data.path: {path}: has {len(content)} bytes, not a multiple of {length}: get it again")
        parts.append(np.frombuffer(content, np.uint8).reshape(-1, length))
    records = np.concatenate(parts)
    pixels = records[:, label_bytes:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return Arrays(np.ascontiguousarray(pixels), records[:, label_bytes - 1].tolist(), split)


def _pickled_cifar(root: Path, kind: _Cifar) -> Source:
    from torchvision import datasets

    reader: Any = getattr(datasets, kind.reader)
    try:
        found = {"train": reader(root, train=True, download=False), "test": reader(root, train=False, download=False)}
    except (RuntimeError, OSError) as error:
        raise InputError(
            f"data.path: {root}: has neither {kind.folder} (the binary version) nor a {reader.base_folder} whose md5 "
            "is right; the latter holds pickles, of which only the published ones are read"
        ) from error
    images = {split: Arrays(part.data, list(part.targets), split) for split, part in found.items()}
    return Source(tuple(found["train"].classes), images["train"], images["test"])


# --- Flowers and Cars: lists in MATLAB's format


def _flowers(root: Path) -> Source:
    from torchvision.datasets import Flowers102

    folder = root / "flowers-102"
    labels = _matlab(folder / "imagelabels.mat", "labels")
    splits = [_matlab(folder / "setid.mat", name) for name in ("trnid", "valid", "tstid")]
    if outside := [number for split in splits for number in split if not 1 <= number <= len(labels)]:
        raise InputError(f"data.path: {folder}: setid.mat has image {outside[0]}, and there are {len(labels)} labels")
    parts = [splits[0] + splits[1], splits[2]]
    train, test = (
        Files(
            [folder / "jpg" / f"image_{number:05d}.jpg" for number in part],
            [int(labels[number - 1]) - 1 for number in part],
        )
        for part in parts
    )
    return Source(tuple(Flowers102.classes), train, test)


def _cars(root: Path) -> Source:
    folder = root / "stanford_cars"
    classes = [str(name) for name in _matlab(folder / "devkit" / "cars_meta.mat", "class_names")]
    lists = {
        "cars_train": folder / "devkit" / "cars_train_annos.mat",
        "cars_test": folder / "cars_test_annos_withlabels.mat",
    }
    sets = []
    for images, path in lists.items():
        entries = _matlab(path, "annotations")
        try:
            found = [(inside(folder / images, str(entry["fname"])), int(entry["class"]) - 1) for entry in entries]
        except (ValueError, IndexError, TypeError) as error:
            raise InputError(f"data.path: {path}: its annotations lack fname and class ({error})") from error
        sets.append(Files([name for name, _ in found], [label for _, label in found]))
    return Source(tuple(classes), *sets)


def _matlab(path: Path, name: str) -> list[Any]:
    from scipy.io import loadmat

    try:
        found = loadmat(path, squeeze_me=True, variable_names=[name])
        return list(np.atleast_1d(found[name]))
    except FileNotFoundError as error:
        raise InputError(f"data.path: {path}: is missing; torchvision's layout has it there") from error
    except Exception as error:  # of any kind, depending on where the file is damaged
        raise InputError(
            f"data.path: {path}: cannot be read ({type(error).__name__}: {error}); get it again"
        ) from error


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"data.path: {path}: is missing; get the set again") from error
