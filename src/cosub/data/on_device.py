"""Training images that lie on the device and are augmented there: for many small images of one size."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from cosub.choices import Interpolation
from cosub.data.batch_augment import DRAWS, augmented, on_device
from cosub.data.counter import uniform
from cosub.data.loading import Batch, Key, StepSampler
from cosub.data.sources import BadImage, Examples
from cosub.data.transforms import resize
from cosub.errors import InputError
from cosub.recipes.augmentation import Augment
from cosub.seeds import derive

_SHARE = 0.5  # of the memory that is free


class Loaded(NamedTuple):
    pixels: UInt8[Tensor, "N 3 H W"]
    labels: Int64[Tensor, " N"]


@dataclass(frozen=True)
class OnDevice:
    """What `TrainingSet` is for images that are read one by one."""

    examples: Examples
    resolution: int
    interpolation: Interpolation
    augment: Augment
    seed: int
    loaded: dict[torch.device, Loaded] = field(default_factory=dict, compare=False)
    """Decoded once."""

    def batches(self, sampler: StepSampler, workers: int, device: torch.device) -> Iterator[Batch]:
        """Batches of the images, which are decoded at the first call. No workers are needed.

        Raises:
            InputError: if images are not square, cannot be read, or do not fit.
        """
        if device not in self.loaded:
            self.loaded[device] = self._load(device)
        return (self._batch(keys, self.loaded[device]) for keys in sampler)

    def _batch(self, keys: list[Key], loaded: Loaded) -> Batch:
        device = loaded.pixels.device
        images, positions = on_device([[key.image for key in keys], [key.position for key in keys]], device)
        seed = derive("augment on the device", self.seed, keys[0].epoch)  # a batch lies in one epoch
        draws = uniform(seed, positions, DRAWS)
        return Batch(augmented(loaded.pixels[images], draws, self.augment), loaded.labels[images], [])

    def _load(self, device: torch.device) -> Loaded:
        number, side = len(self.examples.labels), self.resolution
        needed, free = 3 * number * side * side, _free(device)
        if needed > _SHARE * free:
            raise InputError(
                f"data.on_device: {number:,} images of {side} pixels take {needed / 1e9:.1f} GB, more than half of the "
                f"{free / 1e9:.1f} GB that are free; leave it out"
            )
        pixels = torch.empty(number, 3, side, side, dtype=torch.uint8)
        for index in range(number):
            pixels[index] = self._decoded(index)
        return Loaded(pixels.to(device), torch.tensor(list(self.examples.labels), device=device))

    def _decoded(self, index: int) -> Tensor:
        try:
            image = self.examples.image(index)
        except BadImage as error:
            raise InputError(
                f"data.on_device: {error}: cannot be read; remove it, or leave --data.on-device out"
            ) from error
        if image.width != image.height:
            raise InputError(f"data.on_device: {self.examples.name(index)}: is not square; leave --data.on-device out")
        return torch.from_numpy(np.array(resize(self.resolution, self.interpolation)(image))).permute(2, 0, 1)


def _free(device: torch.device) -> int:
    """Bytes."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    about = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return 1024 * int(about["MemAvailable"].split()[0])  # with what caches would give up
