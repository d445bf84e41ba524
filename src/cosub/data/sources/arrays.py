"""Images that a source reads into memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from cosub.data.decoding import Read, rgb


@dataclass(frozen=True)
class Arrays:
    """The images of a split: `(N, H, W)` or `(N, H, W, 3)` of uint8."""

    pixels: np.ndarray
    labels: Sequence[int]
    split: str

    def image(self, index: int, read: Read = rgb) -> Any:
        return read(Image.fromarray(self.pixels[index]))

    def name(self, index: int) -> str:
        return f"{self.split}[{index}]"
