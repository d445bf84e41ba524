"""Images to uint8 tensors, which the device normalises: what is decoded of an image, and how it is augmented.

The transforms are timm's, except the training crops, which decide what is decoded.
"""

import functools
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from timm.data.transforms import RandomResizedCropAndInterpolation
from timm.data.transforms_factory import transforms_imagenet_eval, transforms_imagenet_train
from torch import Tensor
from torch.nn import functional as F
from torchvision import transforms

from cosub.choices import Interpolation
from cosub.data.decoding import Read, rgb
from cosub.data.posterizing import allow_zero_bits
from cosub.errors import InputError
from cosub.recipes.augmentation import Augment
from cosub.recipes.inputs import Inputs

_IMAGENET = Inputs()
_RATIOS = (3 / 4, 4 / 3)
_REDUCTIONS = (8, 4, 2)  # of JPEG's blocks of 8 pixels


@dataclass(frozen=True)
class Transform:
    """An opened image to `(3, H, W)` of uint8, in two parts: `read` decodes what is needed, `change` does the rest.

    Both draw from the global generators, which are seeded for each image.
    """

    read: Read
    change: Callable[[Any], Tensor]

    def __call__(self, image: Image.Image) -> Tensor:
        return self.change(self.read(image))


def training(resolution: int, augment: Augment, interpolation: Interpolation = "bicubic") -> Transform:
    """Crop, flip, policy, jitter: PIL image to `(3, H, W)` of uint8.

    Raises:
        InputError: for a policy that timm does not know.
    """
    try:
        parts: Any = transforms_imagenet_train(
            resolution,
            scale=(augment.min_area, 1.0),
            hflip=augment.flip,
            color_jitter=augment.jitter or None,  # pyright: ignore[reportArgumentType]
            auto_augment=augment.policy or None,
            interpolation=interpolation,
            use_prefetcher=True,
            separate=True,
        )
    except (AssertionError, ValueError, KeyError) as error:
        raise InputError(
            f"augment.policy: {augment.policy!r}: timm does not know it ({error}); e.g. 3a or rand-m9-mstd0.5-inc1"
        ) from error
    _, colours, final = parts
    allow_zero_bits(colours.transforms)
    reduced = functools.partial(read_reduced, resolution=resolution)
    if augment.crop == "random-resized":
        crop = RandomResizedCrop(resolution, augment.min_area, augment.flip, interpolation)
        return Transform(crop, transforms.Compose([_to_pil, colours, final]) if colours.transforms else _as_is)
    crop = simple_crop(resolution) if augment.crop == "simple" else transforms.CenterCrop(resolution)
    flip = transforms.RandomHorizontalFlip(augment.flip)
    return Transform(reduced, transforms.Compose([resize(resolution, interpolation), crop, flip, colours, final]))


@dataclass(frozen=True)
class RandomResizedCrop:
    """Crop a box of random area and aspect, resize it to a square, flip it: `(3, resolution, resolution)` of uint8.

    The box is drawn from the image's size, before anything is decoded, so a JPEG is decoded at the scale (1/2, 1/4,
    1/8) at which the box still has `resolution` pixels. Its corners lie on the pixels of that scale.
    """

    resolution: int
    min_area: float
    flip: float
    interpolation: Interpolation

    def __call__(self, image: Image.Image) -> Tensor:
        pixels = self.cut(image, *self.draw(image))
        return pixels.flip(2) if random.random() < self.flip else pixels

    def draw(self, image: Image.Image) -> tuple[tuple[int, int, int, int], int]:
        """A box (left, top, width, height) in pixels of the reduced image, and the reduction."""
        box = RandomResizedCropAndInterpolation.get_params(image, (self.min_area, 1.0), _RATIOS)
        width, height = max(1, box[3]), max(1, box[2])  # timm rounds sides below half a pixel to 0
        left, top = min(box[1], image.width - width), min(box[0], image.height - height)
        scale = reduction(image, width, height, self.resolution)
        return (left // scale, top // scale, width // scale, height // scale), scale

    def cut(self, image: Image.Image, box: tuple[int, int, int, int], scale: int) -> Tensor:
        """Decode at a reduction, crop, resize. torch's resize of bytes is Pillow's, at three times its speed."""
        left, top, width, height = box
        reduce(image, scale)
        window = rgb(image.crop((left, top, left + width, top + height)))  # converts only the crop's pixels
        pixels = torch.from_numpy(np.array(window)).permute(2, 0, 1)[None]
        size = (self.resolution, self.resolution)
        return F.interpolate(pixels, size=size, mode=self.interpolation, antialias=True)[0]


def reduction(image: Image.Image, width: int, height: int, resolution: int) -> int:
    """The largest reduction of a JPEG at which a box still has `resolution` pixels on each side; else 1."""
    if image.format not in ("JPEG", "MPO"):
        return 1
    return next((scale for scale in _REDUCTIONS if min(width, height) // scale >= resolution), 1)


def reduce(image: Image.Image, scale: int) -> None:
    """Let an opened JPEG be decoded at 1 / `scale` of its size."""
    if scale > 1:
        image.draft(None, (image.width // scale, image.height // scale))


def read_reduced(image: Image.Image, resolution: int) -> Image.Image:
    """The whole image in RGB; a JPEG at the largest reduction that leaves its sides at least `resolution` long."""
    reduce(image, reduction(image, *image.size, resolution))
    return rgb(image)


def _to_pil(pixels: Tensor) -> Image.Image:
    return Image.fromarray(pixels.permute(1, 2, 0).numpy())


def _as_is(pixels: Tensor) -> Tensor:
    return pixels


def simple_crop(resolution: int) -> transforms.RandomCrop:
    """DeiT-III's simple random crop, after the shorter side is resized: pad by 4 pixels (fewer at low resolution)."""
    return transforms.RandomCrop(resolution, padding=padding_of(resolution), padding_mode="reflect")


def padding_of(resolution: int) -> int:
    """Of a simple random crop, in pixels."""
    return min(4, max(1, resolution // 8))


def resize(resolution: int, interpolation: Interpolation) -> transforms.Resize:
    """The shorter side to the resolution."""
    return transforms.Resize(resolution, interpolation=transforms.InterpolationMode(interpolation))


def evaluation(resolution: int, inputs: Inputs = _IMAGENET) -> Transform:
    """Resize the shorter side and crop the centre, by the crop ratio of `inputs`: image to `(3, H, W)` of uint8."""
    parts: Any = transforms_imagenet_eval(
        resolution, crop_pct=inputs.crop_ratio, interpolation=inputs.interpolation, use_prefetcher=True
    )
    return Transform(rgb, parts)


def normalize(images: Tensor, inputs: Inputs = _IMAGENET) -> Tensor:
    """uint8 `(B, 3, H, W)` to float32, normalised by mean and deviation of `inputs`, on the images' device."""
    mean, deviation = _statistics(inputs, images.device)
    return images.float().sub_(mean).div_(deviation)


@functools.cache
def _statistics(inputs: Inputs, device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and deviation on a device, copied once and not in every step."""
    mean, deviation = (torch.tensor(value, device=device).view(1, 3, 1, 1) * 255 for value in (inputs.mean, inputs.std))
    return mean, deviation
