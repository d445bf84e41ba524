"""Smooth grey images as photographs are, and a run on them."""

import struct

import numpy as np
from PIL import Image, ImageOps
from tiny import tiny

from cosub.recipes.augmentation import Augment
from cosub.recipes.data import Folder


def photographs(seed: int = 0) -> np.ndarray:
    """Sixteen grey images, smooth as photographs are, with all values from 0 to 255."""
    small = np.random.default_rng(seed).integers(0, 256, (16, 5, 6)).astype(np.uint8)
    large = [np.asarray(Image.fromarray(image).resize((24, 20), Image.Resampling.BICUBIC)) for image in small]
    return np.stack([(image.astype(float) - image.min()) * 255 / np.ptp(image) for image in large]).astype(np.uint8)


def write(root, images, suffix: str = ".png"):
    """A folder of two classes, of which every fourth image is for validation."""
    for index, image in enumerate(images):
        folder = root / ("val" if index % 4 == 3 else "train") / "ab"[index % 2 if index % 4 < 3 else index // 4 % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{index:02d}{suffix}")
    return root


def recipe(path, out, **data):
    source = Folder(path=str(path), **data)
    augment = Augment(crop="random-resized", policy="3a", mixup=0.8, cutmix=1.0)
    return tiny(out, data=source, resolution=16, batch_size=4, group_size=2, epochs=2, augment=augment)


def turned(path, orientation: int = 6):
    """A photograph whose EXIF turns it; gives how it is to be seen."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    _lying().save(path, exif=exif)
    with Image.open(path) as opened:
        return np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))


def oddly_tagged(path, tag: str) -> None:
    """The photograph of `turned`, with another tag that Pillow reads and cannot write."""
    tags = sorted([(0x0112, 3, 1, struct.pack("<Hxx", 6)), _ODD[tag]])
    entries = b"".join(struct.pack("<HHI4s", *each) for each in tags)
    _lying().save(path, exif=b"Exif\0\0II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + _GPS)


# Tag, type, count, and the value or its place.
_ODD = {
    "resolution": (0x011A, 2, 4, b"300\0"),  # XResolution as text
    "unit": (0x0128, 8, 1, struct.pack("<hxx", -2)),  # ResolutionUnit below zero
    "version": (0x8825, 4, 1, struct.pack("<I", 38)),  # the place of _GPS
}
_GPS = struct.pack("<HHHI4s4x", 1, 0, 2, 4, b"2.2\0")  # GPSVersionID as text


def _lying() -> Image.Image:
    return Image.fromarray(np.arange(24 * 16 * 3).reshape(16, 24, 3).astype(np.uint8))
