"""How images are prepared for a network."""

from dataclasses import dataclass

from cosub.choices import Interpolation
from cosub.recipes.ranges import PositiveFloat, PositiveShare, Strict


@dataclass(frozen=True)
class Inputs(Strict):
    """How the network expects its images. A run that starts from weights uses theirs, unless these are given."""

    crop_ratio: PositiveShare = 1.0
    """Share of the shorter side that the centre crop of an evaluation keeps; the paper's is 1."""
    interpolation: Interpolation = "bicubic"
    """How images are resized."""
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    """Subtracted from red, green and blue in [0, 1]; ImageNet's."""
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = (0.229, 0.224, 0.225)
    """Divides red, green and blue after that; ImageNet's."""
