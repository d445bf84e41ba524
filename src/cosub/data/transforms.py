"""Images to tensors. timm's transforms; the result is uint8, normalised later on the device."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from PIL import Image
from timm.data.transforms_factory import transforms_imagenet_eval, transforms_imagenet_train
from torch import Tensor
from torchvision import transforms

from cosub.choices import Interpolation
from cosub.errors import InputError
from cosub.recipes.config import Augment, Inputs

_IMAGENET = Inputs()

Transform = Callable[[Image.Image], Tensor]


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
    primary, secondary, final = parts
    match augment.crop:
        case "simple":
            primary = simple_crop(resolution, augment.flip, interpolation)
        case "center":
            primary = _center_crop(resolution, augment.flip, interpolation)
        case "random-resized":
            pass
    return transforms.Compose([primary, secondary, final])


def simple_crop(resolution: int, flip: float, interpolation: Interpolation = "bicubic") -> transforms.Compose:
    """DeiT-III's simple random crop: resize the shorter side, pad by 4 pixels, crop; by less where 4 is much."""
    padding = min(4, max(1, resolution // 8))
    return transforms.Compose(
        [
            transforms.Resize(resolution, interpolation=_resampling(interpolation)),
            transforms.RandomCrop(resolution, padding=padding, padding_mode="reflect"),
            transforms.RandomHorizontalFlip(flip),
        ]
    )


def _center_crop(resolution: int, flip: float, interpolation: Interpolation) -> transforms.Compose:
    return transforms.Compose(
        [
            transforms.Resize(resolution, interpolation=_resampling(interpolation)),
            transforms.CenterCrop(resolution),
            transforms.RandomHorizontalFlip(flip),
        ]
    )


def _resampling(interpolation: Interpolation) -> transforms.InterpolationMode:
    return transforms.InterpolationMode(interpolation)


def evaluation(resolution: int, inputs: Inputs = _IMAGENET) -> Transform:
    """Resize the shorter side and crop the centre, by the crop ratio of `inputs`: PIL image to uint8 `(3, H, W)`."""
    return transforms_imagenet_eval(
        resolution, crop_pct=inputs.crop_ratio, interpolation=inputs.interpolation, use_prefetcher=True
    )


def normalize(images: Tensor, inputs: Inputs = _IMAGENET) -> Tensor:
    """uint8 `(B, 3, H, W)` to float32 with the mean and deviation of `inputs`, on the images' device."""
    mean, deviation = _statistics(inputs, images.device)
    return (images.float() - mean) / deviation


@functools.cache
def _statistics(inputs: Inputs, device: torch.device) -> tuple[Tensor, Tensor]:
    """Copied to a device once, not in every step."""
    mean, deviation = (torch.tensor(value, device=device).view(1, 3, 1, 1) * 255 for value in (inputs.mean, inputs.std))
    return mean, deviation
