"""What a network is trained for: a class for every image, or for every pixel."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import Field
from tyro.conf import Fixed, Suppress

from cosub.errors import InputError
from cosub.recipes.augmentation import Augment
from cosub.recipes.ranges import PositiveFloat, PositiveInt, PositiveShare, Share, Strict, require


class BaseTask(Strict):
    """What every task's configuration has."""

    PREFIX = "task."
    EXAMPLE: ClassVar[str]
    """The name of a recipe for this task."""
    PER_IMAGE: ClassVar[bool] = False
    """Whether an image has one class."""
    UNUSED: ClassVar[tuple[str, ...]] = ()
    """Options of how images are prepared that do nothing for this task."""

    def check(self, recipe: Any) -> None:
        """Raise InputError for a value of the recipe that the task cannot use."""

    def require_used(self, given: Iterable[str]) -> None:
        """Raise InputError for an option that is given and does nothing: recipes of before may have its value."""
        if unused := sorted({*self.UNUSED} & {*given}):
            raise InputError(f"{unused[0]}: is for classification; leave it out")


@dataclass(frozen=True)
class Classification(BaseTask):
    """A class for every image."""

    EXAMPLE = "digits"
    PER_IMAGE = True

    kind: Fixed[Suppress[Literal["classification"]]] = "classification"

    def check(self, recipe: Any) -> None:
        if recipe.data.on_device:
            remedy = "is not done on the device: {}, or leave data.on_device out"
            crop, policy = recipe.augment.crop, recipe.augment.policy
            require(crop != "random-resized", "augment.crop", crop, remedy.format("take simple or center"))
            require(policy in ("", "3a"), "augment.policy", policy, remedy.format("take 3a or an empty one"))


@dataclass(frozen=True)
class Segmentation(BaseTask):
    """A class for every pixel, by UperNet on the recipe's model (Table 13). `resolution` is the size of a crop."""

    EXAMPLE = "camvid"
    UNUSED = ("crop_ratio", "interpolation")

    kind: Fixed[Suppress[Literal["segmentation"]]] = "segmentation"

    width: PositiveInt = 512
    """Channels of the decoder. Table 13 has 384 for ViT-S."""
    short_side: PositiveInt = 512
    """Pixels to which an image's shorter side is resized; its longer side has at most four times as many."""
    min_scale: PositiveFloat = 0.5
    """Smallest factor by which a training image is then scaled."""
    max_scale: PositiveFloat = 2.0
    """Largest factor by which a training image is then scaled."""
    max_share: PositiveShare = 0.75
    """Largest share of one class among a crop's labelled pixels; the tenth crop is used anyway. 1: any crop is."""
    flip: Share = 0.5
    """Probability of a horizontal flip."""
    distort: Share = 0.5
    """Probability of each photometric change: brightness, contrast, saturation, hue."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least = f"must be {self.min_scale:g} or more"
        require(self.max_scale >= self.min_scale, "task.max_scale", self.max_scale, at_least)

    def check(self, recipe: Any) -> None:
        methods = recipe.method.kind in ("supervised", "cosub")
        require(methods, "method", recipe.method.kind, "segmentation has supervised and cosub; take one of them")
        last = recipe.choose == "last"
        require(last, "choose", recipe.choose, "segmentation does not select by validation images; take last")
        head = recipe.head == "model"
        require(head, "head", recipe.head, "is for classification; a decoder always starts at random, leave it out")
        require(recipe.augment == Augment(), "augment", "changed", "is for classification; set task.* instead")


TaskConfig = Annotated[Classification | Segmentation, Field(discriminator="kind")]
TASKS: dict[str, type[Any]] = {config.kind: config for config in get_args(get_args(TaskConfig)[0])}
