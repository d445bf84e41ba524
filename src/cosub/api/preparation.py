"""How images are prepared for given weights, where the weights do not say it or it is to differ."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from tyro.conf import arg

from cosub.choices import Interpolation
from cosub.errors import InputError
from cosub.recipes.ranges import Checked, NonNegativeInt, Share


@dataclass(frozen=True, kw_only=True)
class Preparation(Checked):
    """The model of weights, and how images are prepared for them; by default as `published.look_up` finds it."""

    model: str = ""
    """The timm model of weights that do not name it."""
    resolution: NonNegativeInt = 0
    """Height and width in pixels; 0: what the network was made for."""
    crop_ratio: Annotated[Share, arg(name="crop-ratio")] = 0.0
    """Share of the shorter side that the centre crop keeps; 0: that of the weights. The paper's is 1."""
    interpolation: Interpolation | None = None
    """How images are resized; by default as for the weights."""
    mean: tuple[float, float, float] | None = None
    """Subtracted from red, green and blue in [0, 1]; by default that of the weights."""
    std: tuple[float, float, float] | None = None
    """What the difference is divided by; by default that of the weights."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_mean(self.mean)

    def inputs(self) -> dict[str, Any]:
        """How images are prepared, as far as it is given."""
        names = ("crop_ratio", "interpolation", "mean", "std")
        return {name: getattr(self, name) for name in names if getattr(self, name)}


def require_mean(mean: tuple[float, ...] | None) -> None:
    """That a mean on the command line is one of pixels in [0, 1]; earlier recipes may have any."""
    if mean is not None and not all(0 <= value <= 1 for value in mean):
        raise InputError(f"mean: {mean}: must be in [0, 1], as pixels are; divide values of 0 to 255 by 255")


def say(lines: Sequence[str]) -> None:
    """Print messages on standard error, apart from the results."""
    for line in lines:
        print(line, file=sys.stderr)
