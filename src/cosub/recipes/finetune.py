"""Fine-tuning on one's own images."""

import math

from cosub.recipes.architectures import ARCHITECTURES, Architecture
from cosub.recipes.augmentation import Augment
from cosub.recipes.data import Folder
from cosub.recipes.methods import Cosub
from cosub.recipes.optimizer import Optimizer
from cosub.recipes.recipe import Recipe

# Parameters of table A.1's sizes, in millions; other networks take the values of the nearest.
_SIZES = {22.1: "deit3-s", 38.8: "deit3-m", 86.6: "deit3-b", 304.4: "deit3-l", 632.1: "deit3-h"}


def finetune() -> Recipe:
    """Published or own weights, trained further on a folder of images; the best epoch on validation images is kept.

    The classifier is fitted to the features of the weights before the first step. Resolution, normalisation and crop
    are those of the weights; drop rate and layer decay follow from the size of the network (table A.1), epochs and
    batch from the number of training images. All are printed as inferred, and every option overrides that.

    Cost: 3 to 30 epochs of the folder's images, one for each 100 of them, each image through two submodels.
    Measured: docs/results.md, beside training from scratch and supervised fine-tuning, at small scale.

    cosub train finetune --model convnext_tiny --pretrained --data.path FOLDER
    """
    return Recipe(
        name="finetune",
        model="convnext_tiny",
        head="probe",
        method=Cosub(loss="ce-soft"),
        drop_rate=0.05,
        epochs=30,
        batch_size=64,
        group_size=64,
        lr=2e-3,
        choose="best",
        data=Folder(orientation=True),
        augment=Augment(mixup=0.0, cutmix=1.0, mix_probability=0.5, smoothing=0.1),
        optimizer=Optimizer(weight_decay=0.05, warmup_epochs=2.0, min_lr=1e-6, layer_decay=0.75),
    )


def batch_of(group: int, most: int) -> int:
    """The largest batch of whole groups up to so many images, one group at least."""
    return max(most // group, 1) * group


def like(parameters: int) -> Architecture:
    """The size of table A.1 whose number of parameters is nearest, as a ratio."""
    nearest = min(_SIZES, key=lambda size: abs(math.log(parameters / 1e6 / size)))
    return ARCHITECTURES[_SIZES[nearest]]
