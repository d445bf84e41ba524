"""Convolutional networks on ImageNet-1k by the procedures A1 to A3 of ResNet strikes back (tables 2 and 11)."""

from dataclasses import dataclass

from cosub.data.imagenet import IMAGENET
from cosub.paper.recipes.paper import Entry, Printed, cost, pair
from cosub.recipes.architectures import ARCHITECTURES
from cosub.recipes.augmentation import Augment
from cosub.recipes.data import Folder
from cosub.recipes.inputs import Inputs
from cosub.recipes.methods import Cosub
from cosub.recipes.optimizer import Optimizer
from cosub.recipes.recipe import Recipe

GROUP = "ImageNet-1k from scratch: convolutional networks (ResNet strikes back)"


@dataclass(frozen=True)
class Training:
    """The settings in which A1, A2 and A3 differ."""

    epochs: int
    resolution: int
    lr: float
    weight_decay: float
    policy: str
    mixup: float
    repeats: int


TRAININGS = {
    "a1": Training(600, 224, 5e-3, 0.01, "rand-m7-mstd0.5-inc1", 0.2, 3),
    "a2": Training(300, 224, 5e-3, 0.02, "rand-m7-mstd0.5-inc1", 0.1, 3),
    "a3": Training(100, 160, 8e-3, 0.02, "rand-m6-mstd0.5-inc1", 0.1, 1),
}

_ROWS: dict[str, tuple[Printed, ...]] = {
    "resnet50-a1": pair("2", "ResNet-50", (80.2,), (80.3,)),
    "resnet101-a1": (*pair("2", "ResNet-101", (81.8,), (82.1,)), *pair("11", "ResNet-101", None, (82.1, 70.8))),
    "resnet152-a1": (*pair("2", "ResNet-152", (82.4,), (83.1,)), *pair("11", "ResNet-152", None, (83.1, 72.1))),
    "regnety-16gf-a1": (
        *pair("2", "RegNet-16GF", (82.9,), (83.8,)),
        *pair("11", "RegNetY-16GF", None, (83.8, 72.8)),
    ),
}


def _entry(name: str, kind: str) -> Entry:
    known, training = ARCHITECTURES[name], TRAININGS[kind]
    recipe = Recipe(
        name=f"{name}-{kind}",
        model=known.model,
        resolution=training.resolution,
        classes=IMAGENET,
        method=Cosub(loss="bce-soft"),
        drop_rate=known.imagenet,
        epochs=training.epochs,
        batch_size=2048,
        group_size=64,
        lr=training.lr,
        data=Folder(),
        augment=Augment(policy=training.policy, jitter=0.0, mixup=training.mixup, cutmix=1.0, repeats=training.repeats),
        inputs=Inputs(crop_ratio=0.95),
        optimizer=Optimizer(name="lamb", weight_decay=training.weight_decay, min_lr=1e-6),
    )
    rows = _ROWS.get(recipe.name, ())
    return Entry(
        GROUP,
        f"{known.title} by {kind.upper()}, {training.epochs} epochs at {training.resolution} pixels",
        recipe,
        cost(recipe),
        rows,
        (
            "Drop rate of table 2, where A1 and A2 have 0.05 and A3 has none",
            *(("Weight decay is A1's 0.01, where A.1 has 0.02 'systematically'",) if kind == "a1" else ()),
            *(("A1's label smoothing of 0.1 is left out: labels are binary after mixing",) if kind == "a1" else ()),
            *(("A3 evaluates at 224 pixels; here it is at the 160 of training",) if kind == "a3" else ()),
        ),
        (*(("epochs",) if rows else ()), *(("optimizer.weight_decay",) if kind == "a1" else ())),
    )


ENTRIES = [_entry(name, kind) for name in ("resnet50", "resnet101", "resnet152", "regnety-16gf") for kind in TRAININGS]
