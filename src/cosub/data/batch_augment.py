"""Augmentation of a batch on its device, as timm distributes it: crop, flip, 3-Augment and colour jitter.

Pixels are bytes between operations, as in Pillow. Every draw is a function of (seed, epoch, position).
"""

import itertools
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor
from torch.nn import functional as F

from cosub.data.transforms import padding_of
from cosub.recipes.augmentation import Augment

Images = UInt8[Tensor, "B 3 H W"]
Draws = Float[Tensor, "B 10"]

DRAWS = 10
_TOP, _LEFT, _FLIP, _POLICY, _RADIUS, _ORDER, *_FACTORS = range(9)
_ORDERS = list(itertools.permutations(range(3)))
_RADII = (0.1, 2.0)
_BOXES, _REACH = 3, 2  # of blurring: box blurs, and pixels that the largest box reaches to each side
_THRESHOLD = 128  # of solarising


def augmented(images: Images, draws: Draws, augment: Augment) -> Images:
    """Crop and flip, then 3-Augment where it is asked for, then colour jitter.

    Args:
        images: at the network's size.
        draws: numbers in [0, 1), `DRAWS` for each image.
        augment: of the recipe; of crops not random-resized, of policies 3a or none.
    """
    images = crop_and_flip(images, draws, augment)
    if augment.policy:
        images = three_augment(images, draws[:, _POLICY], draws[:, _RADIUS])
    return jitter(images, draws, augment.jitter) if augment.jitter else images


def crop_and_flip(images: Images, draws: Draws, augment: Augment) -> Images:
    """One gather: the place that each row and column of the result has in the image, with reflection at its edges."""
    height, width = images.shape[2:]
    padding = padding_of(height) if augment.crop == "simple" else 0
    rows = _places(draws[:, _TOP], height, padding)
    columns = _places(draws[:, _LEFT], width, padding)
    flipped = (draws[:, _FLIP] < augment.flip)[:, None]
    columns = torch.where(flipped, columns.flip(1), columns)
    batch = torch.arange(len(images), device=images.device)[:, None, None]
    return images.movedim(1, 3)[batch, rows[:, :, None], columns[:, None, :]].movedim(3, 1)


def _places(draws: Float[Tensor, " B"], length: int, padding: int) -> Int64[Tensor, "B {length}"]:
    """Of each pixel along a side, after a shift by -padding to padding."""
    shifts = (draws * (2 * padding + 1)).long() - padding
    places = torch.arange(length, device=draws.device) + shifts[:, None]
    last = length - 1
    return last - (last - places.abs()).abs()  # reflected at 0, then at the last pixel


def on_device(values: Sequence[Sequence[int]], device: torch.device) -> Int64[Tensor, "n m"]:
    """Integers on a device, copied from pinned memory: for others the host would wait until the device is idle."""
    found = torch.tensor(values)
    return found.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else found.to(device)


def three_augment(images: Images, policy: Float[Tensor, " B"], radius: Float[Tensor, " B"]) -> Images:
    """3-Augment (DeiT-III): solarised, grey, or blurred, one third each."""
    kind = (policy * 3).long().view(-1, 1, 1, 1)
    solarised = torch.where(images < _THRESHOLD, images, 255 - images)
    deviations = _RADII[0] + radius * (_RADII[1] - _RADII[0])
    return torch.where(kind == 0, solarised, torch.where(kind == 1, grey(images), blurred(images, deviations)))


def grey(images: Images) -> Images:
    """Luma in all channels, with Pillow's rounding."""
    red, green, blue = images.long().split(1, 1)
    luma = (19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16
    return luma.to(torch.uint8).expand_as(images)


def blurred(images: Images, deviations: Float[Tensor, " B"]) -> Images:
    """Pillow's Gaussian blur, each image by its own standard deviation in pixels: three box blurs along each axis. The
    outermost pixels of a box have less weight, so that its variance is right (Gwosdek et al., 2011)."""
    variance = deviations**2 / _BOXES
    whole = ((12 * variance + 1).sqrt().sub(1) / 2).floor()
    part = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance) / (6 * (variance - (whole + 1) ** 2))
    radius = (whole + part)[:, None]
    offsets = torch.arange(-_REACH, _REACH + 1, device=images.device)
    boxes = (radius + 1 - offsets.abs()).clamp(0, 1) / (2 * radius + 1)
    weights = boxes.repeat_interleave(images.shape[1], 0)[:, None, None]
    planes = images.float().flatten(0, 1)[None]
    for _ in range(2):
        for _ in range(_BOXES):
            padded = F.pad(planes, (_REACH, _REACH, 0, 0), mode="replicate")
            planes = F.conv2d(padded, weights, groups=len(weights)).round()
        planes = planes.mT
    return planes.to(torch.uint8).view_as(images)


def jitter(images: Images, draws: Draws, strength: float) -> Images:
    """Brightness, contrast and saturation, each by a factor in 1 ± strength, in a random order."""
    low = max(0.0, 1 - strength)
    factors = (low + draws[:, _FACTORS] * (1 + strength - low)).view(-1, 3, 1, 1, 1)
    orders = on_device(_ORDERS, images.device)[(draws[:, _ORDER] * len(_ORDERS)).long()]
    for turn in range(3):
        kind = orders[:, turn].view(-1, 1, 1, 1)
        luma = grey(images).float()
        black, mean = torch.zeros_like(luma), (luma.mean((1, 2, 3), keepdim=True) + 0.5).floor().expand_as(luma)
        other = torch.where(kind == 0, black, torch.where(kind == 1, mean, luma))
        factor = factors.gather(1, orders[:, turn].view(-1, 1, 1, 1, 1))[:, 0]
        images = (other + (images - other) * factor).clamp(0, 255).to(torch.uint8)  # Pillow cuts the fraction off
    return images
