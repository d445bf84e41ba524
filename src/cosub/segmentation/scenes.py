"""Images with a class for every pixel, from ADE20K's folders or the Hub's layout.

Where an annotation is 0 (or 255), the label is `IGNORE`; 1 and up are the classes, whose indices start at 0.
"""

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from cosub.data.decoding import EXTENSIONS, BadImage, Read, decode, rgb
from cosub.data.pixels import Rule, prepared
from cosub.data.sources.hub import load
from cosub.data.sources.source import Source, spaced
from cosub.data.sources.walking import Branch, Notes
from cosub.errors import InputError
from cosub.recipes.data import Hub, Scenes
from cosub.segmentation.losses import IGNORE

_INSPECTED = 100  # annotations of each set, when a run begins
_TRAINING, _VALIDATION = "training", "validation"
_ANNOTATED = ("annotation", "label", "labels", "semantic_mask", "mask")

Labels = UInt8[Tensor, "H W"]


class BadAnnotation(BadImage):
    """An annotation that does not fit its image or the classes; the message names it."""


@dataclass(frozen=True)
class SceneExamples:
    """A set of images with their annotations; a subclass opens their files."""

    num_classes: int
    labels: Sequence[Any]
    """Names of the annotations, which identify the set."""
    rule: Rule | None = field(default=None, kw_only=True)
    """How the pixels of the images are read."""

    def files(self, index: int) -> tuple[Any, Any]:
        """Image and annotation, each a path or file that Pillow can open."""
        raise NotImplementedError

    def name(self, index: int) -> str:
        """The image's."""
        return str(self.labels[index])

    def image(self, index: int, read: Read = rgb) -> Any:
        """What `read` returns for the image. Raises BadImage if it cannot be decoded."""
        return decode(lambda: self.files(index)[0], self.name(index), lambda image: read(prepared(image, self.rule)))

    def pair(self, index: int) -> tuple[Image.Image, Labels]:
        """Image and labels.

        Raises:
            BadImage: if one of them cannot be decoded, or they do not fit.
        """
        return self.image(index), self.annotation(index)

    def annotation(self, index: int) -> Labels:
        """The labels. Raises BadAnnotation if they do not fit the image or the classes."""
        size = self.image(index, lambda opened: opened.size)
        values = decode(lambda: self.files(index)[1], self.labels[index], np.asarray)
        if values.ndim != 2:
            raise BadAnnotation(f"{self.labels[index]} has {values.shape[-1]} channels instead of one")
        if values.shape != size[::-1]:
            raise BadAnnotation(
                f"{self.labels[index]} has {values.shape[1]}x{values.shape[0]} pixels and its image {size[0]}x{size[1]}"
            )
        return self._labels(values, index)

    def _labels(self, values: np.ndarray, index: int) -> Labels:
        named = values[values != IGNORE]
        if named.size and (int(named.max()) > self.num_classes or int(named.min()) < 0):
            raise BadAnnotation(
                f"{self.labels[index]} has the id {named.max()} and there are {self.num_classes} classes"
            )
        reduced = np.where((values == 0) | (values == IGNORE), IGNORE + 1, values) - 1
        return torch.from_numpy(reduced.astype(np.uint8))


@dataclass(frozen=True)
class SceneFiles(SceneExamples):
    images: Sequence[Path]
    annotations: Sequence[Path]

    def name(self, index: int) -> str:
        folder = Path("images", *Path(str(self.labels[index])).parts[1:-1])
        return (folder / self.images[index].name).as_posix()

    def files(self, index: int) -> tuple[Path, Path]:
        return self.images[index], self.annotations[index]


@dataclass(frozen=True)
class SceneRows(SceneExamples):
    """Rows of a Hugging Face data set, by their Arrow columns."""

    images: Any
    annotations: Any

    def files(self, index: int) -> tuple[io.BytesIO, io.BytesIO]:
        values = [column[index].as_py() for column in (self.images, self.annotations)]
        lacking = [value is None or value["bytes"] is None for value in values]
        if lacking[1]:
            raise BadAnnotation(f"{self.labels[index]} has no annotation")
        if lacking[0]:
            raise BadImage(f"{self.name(index)} (no bytes)")
        first, second = (io.BytesIO(value["bytes"]) for value in values)
        return first, second


def open_scenes(config: Scenes) -> Source:
    """Open the data of a recipe for segmentation. Some annotations of each set are read to check that they fit.

    Raises:
        InputError: for a path that is missing or holds no such data, an image without annotation, an annotation of
            another size than its image or with an id above the classes.
    """
    root = Path(config.path).expanduser()
    if not config.path:
        raise InputError("data.path: is not given; name the folder of images and annotations with --data.path PATH")
    parquet = any(root.glob("*.parquet")) or any(root.glob("data/*.parquet"))
    if not (root / "images").is_dir() and not parquet and (root.exists() or len(root.parts) > 2 or root.is_absolute()):
        raise InputError(
            f"data.path: {config.path}: is not a folder with images/training and annotations/training, nor one with "
            "SPLIT-*.parquet files"
        )
    classes = _class_names(root, config)
    source = _folders(root, classes, config.reading) if (root / "images").is_dir() else _hub(config, classes)
    for part in (source.train, source.test):
        assert isinstance(part, SceneExamples)
        _inspect(part, config.path)
    return source


def _inspect(examples: SceneExamples, where: str) -> None:
    for place in spaced(len(examples.labels), _INSPECTED):
        try:
            examples.annotation(place)
        except BadAnnotation as error:
            raise InputError(
                f"data.path: {where}: {error}; correct or remove it, or name the right classes in classes.txt"
            ) from error
        except BadImage:  # counted and named in training
            continue


def _class_names(root: Path, config: Scenes) -> tuple[str, ...]:
    """The names in classes.txt, one per line, or in ADE20K's objectInfo150.txt; else numbers."""
    plain, table = root / "classes.txt", root / "objectInfo150.txt"
    if plain.is_file():
        names = _lines(plain)
    elif table.is_file():
        names = [line.split("\t")[-1].strip() for line in _lines(table)[1:]]
    else:
        names = [str(number) for number in range(1, config.num_classes + 1)]
    if not 2 <= len(names) < IGNORE:
        raise InputError(f"data.path: {root}: names {len(names)} classes; it must be 2 to {IGNORE - 1}")
    return tuple(names)


def _lines(path: Path) -> list[str]:
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"data.path: {path}: cannot be read as text in UTF-8 ({error})") from error


# --- ADE20K's folders


def _folders(root: Path, classes: tuple[str, ...], reading: int) -> Source:
    notes = Notes()
    train, test = (_pairs(root, part, len(classes), reading, notes) for part in (_TRAINING, _VALIDATION))
    return Source(classes, train, test, left_out=notes.left_out())


def _pairs(root: Path, part: str, num_classes: int, reading: int, notes: Notes) -> SceneFiles:
    for kind in ("images", "annotations"):
        if not (root / kind / part).is_dir():
            raise InputError(f"data.path: {root}: has no folder {kind}/{part}")
    places = [root / kind / part for kind in ("images", "annotations")]
    if reading == 1:
        found = [_listed_before(place) for place in places]
    else:
        found = [Branch(place, notes).everything for place in places]
    images = _by_stem(found[0], places[0])
    annotations = _by_stem((path for path in found[1] if path.suffix.lower() == ".png"), places[1])
    if not images:
        raise InputError(f"data.path: {root / 'images' / part}: has no images ({' '.join(EXTENSIONS)})")
    if lacking := sorted(images.keys() - annotations.keys()):
        raise InputError(
            f"data.path: {images[lacking[0]]}: has no annotation, annotations/{part}/{lacking[0]}.png, nor have "
            f"{len(lacking) - 1} others; add or remove them"
        )
    for stem in annotations.keys() - images.keys():
        notes.add("annotation without an image", annotations[stem])
    stems = sorted(images)
    names = [f"annotations/{part}/{stem}.png" for stem in stems]
    return SceneFiles(num_classes, names, [images[stem] for stem in stems], [annotations[stem] for stem in stems])


def _listed_before(root: Path) -> list[Path]:
    """The images of a folder by the rules of `reading` 1, which do not change."""
    return sorted(path for path in root.rglob("*") if path.suffix.lower() in EXTENSIONS)


def _by_stem(paths: Iterable[Path], root: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in paths:
        other = found.setdefault(path.relative_to(root).with_suffix("").as_posix(), path)
        if other != path:
            raise InputError(f"data.path: {path}: {other.name} differs only in the extension; remove one of them")
    return found


# --- the Hub's layout


def _hub(config: Scenes, classes: tuple[str, ...]) -> Source:
    splits = load(Hub(path=config.path))
    test = next((name for name in ("validation", "val", "test") if name in splits), None)
    if "train" not in splits or test is None:
        raise InputError(f"data.path: {config.path}: has the splits {', '.join(splits)}, not train and validation")
    return Source(classes, _rows(splits["train"], "train", classes, config), _rows(splits[test], test, classes, config))


def _rows(part: Any, split: str, classes: tuple[str, ...], config: Scenes) -> SceneRows:
    columns = list(part.features)
    annotated = next((name for name in _ANNOTATED if name in columns), None)
    if "image" not in columns or annotated is None:
        raise InputError(
            f"data.path: {config.path}: needs the columns image and annotation, and has {', '.join(columns)}"
        )
    names = [f"{split}[{index}]" for index in range(len(part))]
    return SceneRows(len(classes), names, part.data.column("image"), part.data.column(annotated))
