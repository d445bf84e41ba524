"""What a network is trained for: a class for every image, or for every pixel."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field
from tyro.conf import Fixed, Suppress

from cosub.recipes.ranges import PositiveFloat, PositiveInt, PositiveShare, Share, Strict, require


@dataclass(frozen=True)
class Classification(Strict):
    """A class for every image."""

    kind: Fixed[Suppress[Literal["classification"]]] = "classification"


@dataclass(frozen=True)
class Segmentation(Strict):
    """A class for every pixel, by UperNet on the recipe's model (Table 13). `resolution` is the size of a crop."""

    kind: Fixed[Suppress[Literal["segmentation"]]] = "segmentation"
    PREFIX = "task."

    width: PositiveInt = 512
    """Channels of the decoder. Table 13 has 384 for ViT-S."""
    short_side: PositiveInt = 512
    """Pixels that an image's shorter side is resized to, its longer side to four times as much at most."""
    min_scale: PositiveFloat = 0.5
    """A training image is then scaled by a factor drawn between this one ..."""
    max_scale: PositiveFloat = 2.0
    """... and this one."""
    max_share: PositiveShare = 0.75
    """Largest share of a class among a crop's labelled pixels; after ten crops that have more, the next is taken."""
    flip: Share = 0.5
    """Probability of a horizontal flip."""
    distort: Share = 0.5
    """Probability of each photometric change: brightness, contrast, saturation, hue."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least = f"must be {self.min_scale:g} or more"
        require(self.max_scale >= self.min_scale, "task.max_scale", self.max_scale, at_least)


TaskConfig = Annotated[Classification | Segmentation, Field(discriminator="kind")]
TASKS: dict[str, type[Any]] = {"classification": Classification, "segmentation": Segmentation}
