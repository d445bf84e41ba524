"""Augmentation of a training image together with its labels, by torchvision's transforms (v2)."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from cosub.recipes.inputs import Inputs
from cosub.recipes.tasks import Segmentation
from cosub.segmentation.losses import IGNORE

_LONGEST = 4  # greatest longer side, in shorter sides: 2048 for 512
_CROPS = 10


@dataclass(frozen=True)
class TrainingCrop:
    """Scale, crop, flip, photometric distortion. Draws from torch's default generator.

    An image that is smaller than the crop is padded with the mean colour, and its labels with `IGNORE`.
    """

    task: Segmentation
    resolution: int
    inputs: Inputs

    def __call__(
        self, image: Image.Image, labels: UInt8[Tensor, "h w"]
    ) -> tuple[UInt8[Tensor, "3 R R"], UInt8[Tensor, "R R"]]:
        task = self.task
        factor = torch.empty(()).uniform_(task.min_scale, task.max_scale).item()
        height, width = fitted((image.height, image.width), task.short_side, factor)
        pixels = functional.resize(tv_tensors.Image(functional.pil_to_tensor(image)), [height, width], antialias=True)
        mask = functional.resize(tv_tensors.Mask(labels[None]), [height, width])
        pixels, mask = self._padded(pixels, mask)
        top, left = self._place(mask)
        box = top, left, self.resolution, self.resolution
        pixels, mask = functional.crop(pixels, *box), functional.crop(mask, *box)
        pixels, mask = _changes(task)(tv_tensors.Image(pixels), tv_tensors.Mask(mask))
        return pixels.as_subclass(Tensor), mask[0].as_subclass(Tensor)

    def _padded(self, pixels: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        right, below = (max(self.resolution - side, 0) for side in (pixels.shape[2], pixels.shape[1]))
        if not right and not below:
            return pixels, mask
        colour = [float(round(255 * value)) for value in self.inputs.mean]
        margins = [0, 0, right, below]
        return functional.pad(pixels, margins, fill=colour), functional.pad(mask, margins, fill=IGNORE)

    def _place(self, mask: Tensor) -> tuple[int, int]:
        """Of ten drawn crops, the first in which no class exceeds its share of the labelled pixels; else the last."""
        top = left = 0
        for _ in range(_CROPS):
            top, left = (int(torch.randint(side - self.resolution + 1, ())) for side in mask.shape[1:])
            part = mask[0, top : top + self.resolution, left : left + self.resolution]
            counts = torch.bincount(part.flatten(), minlength=IGNORE + 1)[:IGNORE]
            mixed = counts.count_nonzero() > 1 and counts.max() < self.task.max_share * counts.sum()
            if mixed or self.task.max_share == 1:
                break
        return top, left


def fitted(size: tuple[int, int], short_side: int, factor: float = 1.0) -> tuple[int, int]:
    """Height and width of an image resized to a shorter side (the longer is at most four times that), then scaled."""
    ratio = factor * min(short_side / min(size), _LONGEST * short_side / max(size))
    height, width = (max(int(side * ratio + 0.5), 1) for side in size)
    return height, width


def _changes(task: Segmentation) -> Any:
    """Flip, and four photometric changes: by an eighth in brightness, a half in contrast and saturation, and in hue by
    36 degrees, which is 18 as OpenCV counts, in halves of degrees."""
    jitters = [
        v2.ColorJitter(brightness=(0.875, 1.125)),
        v2.ColorJitter(contrast=0.5),
        v2.ColorJitter(saturation=0.5),
        v2.ColorJitter(hue=0.1),
    ]
    return v2.Compose(
        [v2.RandomHorizontalFlip(task.flip), *(v2.RandomApply([jitter], task.distort) for jitter in jitters)]
    )
