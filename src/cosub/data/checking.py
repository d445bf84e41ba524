"""What a person should know about a data set: damaged images, unusual ones, and those in both train and test."""

import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.ExifTags import IFD, Base
from torch.utils.data import DataLoader, Dataset

from cosub.data.decoding import BadImage, rgb
from cosub.data.loading import context, leave_signals_to_the_trainer
from cosub.data.overview import splits
from cosub.data.pixel_range import extent_of
from cosub.data.pixels import GROUND, LONGEST, Limits, Rule, digest, is_deep, is_deep_colour, limits_of, prepared
from cosub.data.sources import Examples, Source
from cosub.data.sources.source import HELD_OUT

_SUFFIXES = {
    "HEIF": {".heic", ".heif"},
    "JPEG": {".jpg", ".jpeg", ".jpe", ".jfif"},
    "MPO": {".jpg", ".jpeg", ".mpo"},
    "PNG": {".png", ".apng"},
    "TIFF": {".tif", ".tiff"},
    "PPM": {".ppm", ".pgm", ".pbm", ".pnm"},
}  # of others: the format's own name


@dataclass(frozen=True)
class Look:
    """What was found about one image. `pixels` is a hash of what training would see; empty where it is damaged."""

    split: str
    name: str
    damaged: str = ""
    odd: tuple[str, ...] = ()
    pixels: bytes = b""


@dataclass
class Report:
    """Findings, by name of the image."""

    images: Counter[str] = field(default_factory=Counter)  # number checked, by split
    damaged: list[str] = field(default_factory=list)
    odd: dict[str, list[str]] = field(default_factory=dict)
    duplicates: list[tuple[str, str]] = field(default_factory=list)  # an image of another split, and the one of train
    alike: dict[bytes, list[str]] = field(default_factory=dict)  # images by the hash of their pixels
    _seen: dict[bytes, str] = field(default_factory=dict)

    def add(self, look: Look) -> None:
        """Add an image. Those of train have to come first."""
        self.images[look.split] += 1
        if look.damaged:
            self.damaged.append(look.damaged)
            return
        self.alike.setdefault(look.pixels, []).append(look.name)
        if look.odd:
            self.odd[look.name] = list(look.odd)
        if look.split == "train":
            self._seen.setdefault(look.pixels, look.name)
        elif look.pixels in self._seen:
            self.duplicates.append((look.name, self._seen[look.pixels]))


def rows_of(source: Source, report: Report) -> Iterator[tuple[str, str, str, str]]:
    """Path, label, split and group of each image, for a table. Images with the same pixels are one group.

    The splits are those of the folder. If it has none, so that images were held out, the column is empty.
    """
    own = not source.places.get("test", "").startswith(HELD_OUT)
    groups = {name: names[0] for names in report.alike.values() if len(names) > 1 for name in names}
    for split, examples in splits(source).items():
        role = "validation" if split == "test" and source.validation is source.test else split
        for index, label in enumerate(examples.labels):
            name = examples.name(index)
            yield name, source.classes[label], role if own else "", groups.get(name, "")


def looks(source: Source, workers: int, rule: Rule | None = None) -> Iterator[Look]:
    """Decode and check every image of a source, those of train first, in `workers` processes.

    The source reads pixels as they are in the files (`pixels.plain`); `rule` is how training reads them.
    """
    for split, examples in splits(source).items():
        loader = DataLoader(
            _Looked(examples, split, rule),
            batch_size=16,
            num_workers=workers,
            collate_fn=list,
            multiprocessing_context=context(workers),
            worker_init_fn=leave_signals_to_the_trainer,
        )
        for batch in loader:
            yield from batch


class _Looked(Dataset[Look]):
    def __init__(self, examples: Examples, split: str, rule: Rule | None) -> None:
        self.examples, self.split, self.rule = examples, split, rule

    def __len__(self) -> int:
        return len(self.examples.labels)

    def __getitem__(self, index: int) -> Look:
        return look(self.examples, index, self.split, self.rule)


def look(examples: Examples, index: int, split: str, rule: Rule | None = None) -> Look:
    """Decode one image whole, and note what is unusual about it."""
    name = examples.name(index)
    try:
        odd, pixels = examples.image(index, lambda image: _facts(image, Path(name).suffix.lower(), rule))
    except BadImage as error:
        return Look(split, name, damaged=str(error))
    return Look(split, name, odd=tuple(odd), pixels=pixels)


def _facts(image: Image.Image, suffix: str, rule: Rule | None) -> tuple[list[str], bytes]:
    # Decoding and converting lose what the file states.
    odd = [note for note in (_extension(image, suffix), *_mode(image), *_exif(image)) if note]
    pixels = digest(rgb(prepared(image, rule)))
    return [*odd, *_frames(image)], pixels


def _extension(image: Image.Image, suffix: str) -> str:
    format = image.format or ""
    fits = not format or not suffix or suffix in _SUFFIXES.get(format, {f".{format.lower()}"})
    return "" if fits else f"wrong extension: {suffix} of a {format} file"


def _mode(image: Image.Image) -> list[str]:
    notes = []
    if is_deep(image):
        limits = limits_of(image)
        kind = "32-bit or float grey, which has no usual range" if limits is None else f"16-bit grey, {_span(limits)}"
        notes.append(f"{kind}: uses {_span(extent_of(image))}")
    if is_deep_colour(image):
        notes.append("16-bit colour: the upper 8 bits are read")
    if image.mode in ("CMYK", "YCCK", "LAB", "HSV"):
        notes.append(f"{image.mode}: converted to RGB without its colour profile")
    if image.mode == "P":
        notes.append("palette")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        notes.append(f"alpha: {GROUND} shows through it")
    if max(image.size) > LONGEST * min(image.size):
        notes.append(f"over {LONGEST} times as long as wide: only its centre is read")
    if Image.MAX_IMAGE_PIXELS and image.width * image.height > Image.MAX_IMAGE_PIXELS:
        notes.append(f"large: {image.width} x {image.height} pixels")
    return notes


def _span(limits: Limits) -> str:
    return f"{limits[0]:g} to {limits[1]:g}"


def _frames(image: Image.Image) -> list[str]:
    try:
        frames = getattr(image, "n_frames", 1)
    except Exception:  # of any kind, by format; the first frame, which training sees, was decoded
        return ["animated: frames after the first are damaged"]
    return [f"animated: {frames} frames, the first is read"] if frames > 1 else []


def _exif(image: Image.Image) -> list[str]:
    if "exif" not in image.info:
        return []
    exif: Any = Image.Exif()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            exif.load(image.info["exif"])
            orientation = exif.get(Base.Orientation, 1)
            for tags in (exif, exif.get_ifd(IFD.Exif)):
                dict(tags)
        except Exception as error:  # Pillow warns of some faults and raises for others
            return [f"EXIF cannot be parsed ({' '.join(str(error).split())[:80]})"]
    return (
        [f"EXIF rotates it (orientation {orientation}), as data.orientation does"] if orientation not in (0, 1) else []
    )
