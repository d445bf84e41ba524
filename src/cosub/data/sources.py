"""Where images come from. A source gives two sets, train and test, and the names of its classes."""

import functools
import hashlib
import io
import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from cosub.errors import InputError
from cosub.recipes.config import DataConfig, Digits, Folder, Hub
from cosub.seeds import derive

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm")


class BadImage(Exception):
    """An image that cannot be read; the message names it."""


class Examples(Protocol):
    """A set of images: its labels, and image and name by index."""

    @property
    def labels(self) -> Sequence[int]: ...

    def image(self, index: int) -> Image.Image:
        """The image, RGB.

        Raises:
            BadImage: if it cannot be decoded.
        """
        ...


@dataclass(frozen=True)
class Source:
    classes: tuple[str, ...]
    train: Examples
    test: Examples
    validation: Examples | None = None
    """Images held out of the training set, where the recipe asks for them."""

    @property
    def watched(self) -> Examples:
        """What a run may look at before it ends: validation images where there are any, else the test images."""
        return self.test if self.validation is None else self.validation


@dataclass(frozen=True)
class Part:
    """Some images of a set, in a given order."""

    whole: Examples
    indices: Sequence[int]

    @functools.cached_property
    def labels(self) -> Sequence[int]:
        return [self.whole.labels[index] for index in self.indices]

    def image(self, index: int) -> Image.Image:
        return self.whole.image(self.indices[index])


def open_source(config: DataConfig) -> Source:
    """Open the data of a recipe.

    Raises:
        InputError: for a path that is missing or holds no data set, a single class, a label outside the classes.
    """
    match config:
        case Digits():
            source = _digits(config)
        case Folder():
            source = _folder(config)
        case Hub():
            source = _hub(config)
    return _sampled(_checked(source, getattr(config, "path", "digits")), config)


def _sampled(source: Source, config: DataConfig) -> Source:
    """The validation images are the same whatever else is asked for; the training images come from the others."""
    asked, held_out = config.train_images, config.validation_images
    if not asked and not held_out:
        return source
    number = len(source.train.labels)
    if max(asked, 1) + held_out > number:
        raise InputError(
            f"data.train_images: {asked}: and {held_out} validation images are more than the {number:,} training "
            "images; ask for fewer"
        )
    order = np.random.default_rng(derive("validation")).permutation(number)
    held, others = order[:held_out], order[held_out:]
    shuffled = np.random.default_rng(derive("training images", config.subset_seed)).permutation(others)
    train = Part(source.train, sorted((shuffled[:asked] if asked else others).tolist()))
    validation = Part(source.train, sorted(held.tolist())) if held_out else None
    return Source(source.classes, train, source.test, validation)


def fingerprint(source: Source) -> str:
    """What tells one data set from another without reading its images: names of classes, labels in order."""
    values = [source.classes, list(source.train.labels), list(source.test.labels)]
    if source.validation is not None:
        values.append(list(source.validation.labels))
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()


def all_images(config: DataConfig, classes: tuple[str, ...]) -> Examples | None:
    """All images of a folder that has no splits of its own, with the labels of the given classes; else None."""
    if not isinstance(config, Folder):
        return None
    root = _existing(config.path)
    if any((root / name).is_dir() for name in ("train", "val", "validation", "test")):
        return None
    found, files = _class_folders(root)
    if extra := sorted(set(found) - set(classes)):
        raise InputError(f"data.path: {root}: has classes that the run lacks: {', '.join(extra[:5])}")
    return Files(files.paths, [classes.index(found[label]) for label in files.labels])


def decode(read: Callable[[], Any], name: str) -> Image.Image:
    """Decode completely, in RGB; what Pillow raises for a damaged image becomes a BadImage that names it."""
    try:
        with Image.open(read()) as image:
            return image.convert("RGB")
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise BadImage(f"{name} ({type(error).__name__}: {error})") from error


# --- digits


@dataclass(frozen=True)
class Arrays:
    """Images held in memory, `(N, H, W)` of uint8."""

    pixels: np.ndarray
    labels: Sequence[int]

    def image(self, index: int) -> Image.Image:
        return Image.fromarray(self.pixels[index]).convert("RGB")


def _digits(config: Digits) -> Source:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch: Any = load_digits()
    pixels = (bunch.images * (255 / 16)).round().astype(np.uint8)
    try:
        parts: Any = train_test_split(
            pixels,
            bunch.target,
            test_size=config.test_share,
            random_state=config.split_seed,
            stratify=bunch.target,
        )
    except ValueError as error:
        raise InputError(f"data.test_share: {config.test_share}: cannot split the digits so ({error})") from error
    train, test, train_labels, test_labels = parts
    return Source(
        tuple(str(digit) for digit in range(10)),
        Arrays(train, train_labels.tolist()),
        Arrays(test, test_labels.tolist()),
    )


# --- a folder of images


@dataclass(frozen=True)
class Files:
    """Image files on disk."""

    paths: Sequence[Path]
    labels: Sequence[int]

    def image(self, index: int) -> Image.Image:
        path = self.paths[index]
        return decode(lambda: path, str(path))

    def name(self, index: int) -> str:
        return str(self.paths[index])


def _folder(config: Folder) -> Source:
    root = _existing(config.path)
    train_root = root / "train" if (root / "train").is_dir() else root
    test_root = next((root / name for name in ("val", "validation", "test") if (root / name).is_dir()), None)
    if train_root is root:
        test_root = None
    classes, train = _class_folders(train_root)
    if test_root is not None:
        test_classes, test = _class_folders(test_root)
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


def _class_folders(root: Path) -> tuple[tuple[str, ...], Files]:
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


def _existing(path: str) -> Path:
    if not path:
        raise InputError("data.path: is not given; name the folder of images with --data.path PATH")
    root = Path(path).expanduser()
    if not root.is_dir():
        raise InputError(f"data.path: {path}: is not a folder; name the folder of images with --data.path PATH")
    return root


# --- the Hub's layout


@dataclass(frozen=True)
class HubRows:
    """Rows of a Hugging Face data set: a column of encoded images (bytes and path), read from its Arrow table.

    The data set's own row access costs half a millisecond, more than decoding a small image.
    """

    column: Any
    labels: Sequence[int]
    split: str

    def image(self, index: int) -> Image.Image:
        value = self.column[index].as_py()
        if value is None or value["bytes"] is None:
            raise BadImage(f"{self.name(index)} (no bytes)")
        return decode(lambda: io.BytesIO(value["bytes"]), self.name(index))

    def name(self, index: int) -> str:
        path = (self.column[index].as_py() or {}).get("path")
        return f"{self.split}[{index}]" + (f" {path}" if path else "")


def _hub(config: Hub) -> Source:
    splits = _load_hub(config)
    for wanted in (config.train_split, config.test_split):
        if wanted not in splits:
            raise InputError(
                f"data: {config.path}: has no split {wanted!r} but {', '.join(sorted(splits))}; "
                "name them with --data.train-split and --data.test-split"
            )
    train, test = splits[config.train_split], splits[config.test_split]
    column, label = _columns(train.features, config.path)
    feature = train.features[label]
    labels = [list(part[label]) for part in (train, test)]
    names = getattr(feature, "names", None) or _numbered(labels[0], config.path)
    sets = [
        HubRows(part.data.column(column), part_labels, split)
        for part, part_labels, split in zip((train, test), labels, (config.train_split, config.test_split), strict=True)
    ]
    return Source(tuple(names), sets[0], sets[1])


def _numbered(labels: list[Any], path: str) -> list[str]:
    """Names for labels that have none: the numbers themselves."""
    numbers = {label for label in labels if label is not None}
    if len(numbers) and max(numbers) >= 10 * len(numbers) + 1000:
        raise InputError(f"data.path: {path}: its labels go to {max(numbers)} and are few: number the classes from 0")
    return [str(number) for number in range(max(numbers, default=-1) + 1)]


def _load_hub(config: Hub) -> dict[str, Any]:
    try:
        import datasets
    except ImportError as error:
        raise InputError("data: the Hub layout needs the package datasets: pip install 'cosub[hub]'") from error
    if not config.path:
        raise InputError("data.path: is not given; name a folder of Parquet files or a data set on the Hub")
    datasets.disable_progress_bars()
    folder = Path(config.path).expanduser()
    if folder.is_dir():
        try:
            loaded = datasets.load_dataset("parquet", data_files=_parquet_files(folder))
        except InputError:
            raise
        except Exception as error:  # damaged files, columns that differ: as many kinds as there are layers below
            reason = " ".join(str(error.__cause__ or error).split())[:160]
            raise InputError(f"data.path: {folder}: its Parquet files cannot be read ({reason})") from error
    elif folder.is_absolute() or config.path.startswith(".") or config.path.count("/") > 1:
        raise InputError(f"data.path: {config.path}: is not a folder; name one that holds SPLIT-*.parquet files")
    else:
        try:
            loaded = datasets.load_dataset(config.path)
        except Exception as error:  # whatever the Hub's client raises: offline, no such name, no access
            raise InputError(
                f"data.path: {config.path}: is not a folder here, and the Hub gave {type(error).__name__}: "
                "check the path, or the name and the network"
            ) from error
    return {str(name): _undecoded(part) for name, part in loaded.items()}  # pyright: ignore[reportAttributeAccessIssue]


def _parquet_files(folder: Path) -> dict[str, list[str]]:
    files = sorted(folder.glob("*.parquet")) or sorted((folder / "data").glob("*.parquet"))
    if not files:
        raise InputError(f"data.path: {folder}: has no Parquet files; expected SPLIT-*.parquet there or in data/")
    splits: dict[str, list[str]] = {}
    for file in files:
        splits.setdefault(file.stem.split("-")[0], []).append(os.fspath(file))
    return splits


def _undecoded(part: Any) -> Any:
    """Give bytes for images: decoding is ours, so that a bad image is an event and not the end."""
    import datasets

    for name, feature in part.features.items():
        if isinstance(feature, datasets.Image):
            part = part.cast_column(name, datasets.Image(decode=False))
    return part


def _columns(features: Any, path: str) -> tuple[str, str]:
    import datasets

    image = next((name for name, feature in features.items() if _holds_images(feature)), None)
    named = [name for name, feature in features.items() if isinstance(feature, datasets.ClassLabel)]
    integers = [name for name, feature in features.items() if getattr(feature, "dtype", "") in ("int64", "int32")]
    usual = ("label", "labels", "fine_label", "class")
    label = next((name for name in usual if name in named + integers), None) or next(iter(named), None)
    if image is None or label is None:
        missing = (
            "no column of images" if image is None else "no column of class labels, nor one of integers named label"
        )
        raise InputError(f"data.path: {path}: has {missing} (columns: {', '.join(features)})")
    return image, label


def _holds_images(feature: Any) -> bool:
    import datasets

    return isinstance(feature, datasets.Image) or (isinstance(feature, dict) and set(feature) == {"bytes", "path"})


# --- what every source must be


def _checked(source: Source, where: str) -> Source:
    for name, part in (("train", source.train), ("test", source.test)):
        if None in part.labels:
            raise InputError(f"data: {where}: the {name} set has a row without a label; remove it")
    if len(source.classes) < 2:
        raise InputError(f"data: {where}: has a single class ({', '.join(source.classes)}); two are the least")
    for name, part in (("train", source.train), ("test", source.test)):
        if not len(part.labels):
            raise InputError(f"data: {where}: the {name} set is empty")
        outside = sorted({label for label in part.labels if not 0 <= label < len(source.classes)})
        if outside:
            raise InputError(
                f"data: {where}: the {name} set has label {outside[0]}, and there are classes "
                f"0 to {len(source.classes) - 1}; remove those rows or mend the class names"
            )
    return source
