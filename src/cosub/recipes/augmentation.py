"""How training images are augmented and mixed."""

from dataclasses import dataclass

from cosub.choices import Crop
from cosub.recipes.ranges import NonNegativeFloat, PositiveInt, PositiveShare, Rate, Share, Strict


@dataclass(frozen=True)
class Augment(Strict):
    """How a training image is augmented, and how images of one group are mixed."""

    PREFIX = "augment."

    crop: Crop = "random-resized"
    """random-resized; simple: resize, pad, random crop; center: no random crop."""
    min_area: PositiveShare = 0.08
    """Smallest area of a random-resized crop, as a share of the image."""
    flip: Share = 0.5
    """Probability of a horizontal flip."""
    policy: str = "3a"
    """timm's auto-augment string: 3a (3-Augment), rand-m9-mstd0.5-inc1 (RandAugment), ...; empty for none."""
    jitter: NonNegativeFloat = 0.3
    """Strength of colour jitter (brightness, contrast, saturation); it acts with 3-Augment or without a policy."""
    mixup: NonNegativeFloat = 0.0
    """Parameter of the Beta distribution of mixup; 0 turns it off."""
    cutmix: NonNegativeFloat = 0.0
    """Parameter of the Beta distribution of CutMix; 0 turns it off. With both on, each is used half of the time."""
    mix_probability: Share = 1.0
    """Share of the groups that are mixed."""
    smoothing: Rate = 0.0
    """Label smoothing, for softmax cross-entropy only."""
    repeats: PositiveInt = 1
    """Repeated augmentation: how often an image occurs in a batch, each time with another augmentation. An epoch keeps
    its length, so it has 1 / repeats of the images (DeiT: 3)."""
