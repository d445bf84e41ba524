"""Prepare an opened image before it is cropped: upright, 8 bits per channel, opaque, not too long.

Pillow clips 16-bit grey to 255, ignores the camera's orientation, and drops alpha. A recipe states what is done instead
(`data.pixels` 2, `data.range`, `data.orientation`), for training, evaluation and prediction alike.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from PIL import Image
from PIL.ExifTags import Base
from PIL.Image import Transpose

from cosub.choices import Range
from cosub.data.decoding import Read, decode, rgb
from cosub.errors import InputError
from cosub.recipes.data import DataConfig, Digits, Folder, Photographs, Pictures

if TYPE_CHECKING:
    from cosub.data.sources.source import Examples

GROUND = "white"  # background of transparent pixels
LONGEST = 16  # greatest ratio of the sides: longer images are cropped, since resizing would make them enormous

_SIXTEEN = 65535
_DEEP = (";16B", ";16L", ";16N")  # of Pillow's raw modes; BGR;16 has 16 bits per pixel
_TURNS = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}  # by EXIF's orientation

Photos = TypeVar("Photos", bound=Photographs)
Limits = tuple[float, float]


@dataclass(frozen=True)
class Rule:
    """How pixels are read. `range`: the values that become black and white in images of more than 8 bits."""

    range: Range = "type"
    orientation: bool = False
    cut: bool = True


def rule_of(config: DataConfig) -> Rule | None:
    """The rule for pixels of a recipe's data; None where Pillow's conversion is the rule (`data.pixels` 1)."""
    if not isinstance(config, Pictures) or config.pixels == 1:
        return None
    return Rule(config.range, config.orientation, cut=config.CROP_LONG)


def plain(config: DataConfig) -> DataConfig:
    """The same data, with pixels as Pillow opens them."""
    return replace(config.turned(False), range="type", pixels=1) if isinstance(config, Pictures) else config


def as_read(config: Photos, like: DataConfig) -> Photos:
    """The same data, with pixels read as those of other data."""
    if isinstance(like, Photographs):
        return replace(config, range=like.range, pixels=like.pixels, orientation=like.orientation)
    return replace(config, pixels=1)


def prepared(image: Image.Image, rule: Rule | None) -> Image.Image:
    """The image, prepared by the rule; not yet decoded where there is nothing to change.

    Raises:
        ValueError: for more than 8 bits that cannot be scaled.
    """
    if rule is None:
        return image
    deep, limits = is_deep(image), limits_of(image)
    if isinstance(rule.range, tuple):
        limits = rule.range
        if is_deep_colour(image):
            raise ValueError("16-bit colour, of which Pillow reads the upper 8 bits, so data.range cannot be applied")
    if rule.orientation:
        image = _upright(image)
    if rule.cut:
        image = _cut(image)
    if deep:
        return _scaled(image, limits)
    return _opaque(image) if image.has_transparency_data else image


def is_deep(image: Image.Image) -> bool:
    """Whether it is grey with more than 8 bits."""
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def is_deep_colour(image: Image.Image) -> bool:
    """Whether it is opened, and not yet decoded, as colour of 16 bits per channel."""
    return not is_deep(image) and any(_raw_mode(tile[3]).endswith(_DEEP) for tile in getattr(image, "tile", ()))


def _raw_mode(arguments: Any) -> str:
    """Of a tile's decoder: it stands alone, or first, before strides and offsets."""
    return str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments)


def limits_of(image: Image.Image) -> Limits | None:
    """Minimum and maximum of the data type of a grey image; None where that means nothing (32 bits, floats)."""
    tags: Any = getattr(image, "tag_v2", {})
    bits = max(tags.get(Base.BitsPerSample, (16,)))
    if image.mode == "F" or bits > 16:
        return None
    signed = image.mode == "I" and image.format == "TIFF"
    return (-(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1) if signed else (0.0, 2.0**bits - 1)


def _upright(image: Image.Image) -> Image.Image:
    """The image, turned as its EXIF says. `ImageOps.exif_transpose` also writes the EXIF, which fails for odd tags."""
    if _turn(image) is None:
        return image
    image.load()  # Pillow turns a TIFF then, and takes the orientation from its EXIF
    turn = _turn(image)
    return image if turn is None else image.transpose(turn)


def _turn(image: Image.Image) -> Transpose | None:
    try:
        return _TURNS.get(image.getexif().get(Base.Orientation, 1))
    except Exception:  # EXIF that cannot be parsed is ignored; check-data reports it
        return None


def _cut(image: Image.Image) -> Image.Image:
    """The centre of an image that is too long."""
    width, height = image.size
    most = LONGEST * min(width, height)
    if max(width, height) <= most:
        return image
    left, top = max(0, (width - most) // 2), max(0, (height - most) // 2)
    return image.crop((left, top, left + min(width, most), top + min(height, most)))


def _scaled(image: Image.Image, limits: Limits | None) -> Image.Image:
    if limits is None:
        raise ValueError("32 bits or floats, whose type does not define black and white: take --data.range")
    low, high = limits
    values = np.asarray(image).astype(np.float32 if high <= _SIXTEEN else np.float64)
    scaled = np.nan_to_num((values - low) * (255 / (high - low))).clip(0, 255)
    return Image.fromarray(np.rint(scaled).astype(np.uint8))


def _opaque(image: Image.Image) -> Image.Image:
    pixels = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", pixels.size, GROUND), pixels).convert("RGB")


def digest(image: Image.Image) -> bytes:
    """A hash of decoded pixels: equal for copies under another name, in a lossless format or with other metadata."""
    return hashlib.blake2b(repr(image.size).encode() + image.tobytes(), digest_size=16).digest()


def decoded(path: Path, rule: Rule | None) -> Image.Image:
    """An image file in RGB. Raises BadImage."""
    return decode(lambda: path, str(path), lambda image: rgb(prepared(image, rule)))


@dataclass(frozen=True)
class Prepared:
    """A set of images that are prepared by a rule."""

    whole: "Examples"
    rule: Rule

    @property
    def labels(self) -> Sequence[int]:
        return self.whole.labels

    def image(self, index: int, read: Read = rgb) -> Any:
        return self.whole.image(index, lambda image: read(prepared(image, self.rule)))

    def name(self, index: int) -> str:
        return self.whole.name(index)


def by_rule(examples: "Examples", config: DataConfig) -> "Examples":
    """The set, read by the rule of a recipe's data. A set that has a rule itself applies it."""
    rule = rule_of(config)
    if hasattr(examples, "rule"):
        return replace(examples, rule=rule)  # pyright: ignore[reportArgumentType]
    return examples if rule is None else Prepared(examples, rule)


def reading(config: DataConfig) -> dict[str, Any]:
    """What a description of a network says of it, beside timm's values, which have no words for it."""
    rule = rule_of(config)
    if rule is None:
        return {}
    return {"image_reading": {"range": rule.range, "orientation": rule.orientation, "ground": GROUND,
                              "longest": LONGEST}}  # fmt: skip


def reading_of(config: Mapping[str, Any], origin: str) -> DataConfig:
    """Data whose pixels are read as a config of exported weights states; by default as Pillow and timm do.

    Raises:
        InputError: for invalid values.
    """
    if "image_reading" not in config:
        return Digits()
    try:
        about = config["image_reading"]
        limits, orientation = about["range"], bool(about["orientation"])
        if limits == "type":
            return Folder(orientation=orientation)
        low, high = map(float, limits)
        return Folder(range=(low, high), orientation=orientation)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"weights: {origin}: image_reading is invalid ({error!r}); export the run again") from error
