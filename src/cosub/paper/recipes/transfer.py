"""Transfer of ViT-S, B and L from ImageNet-1k to six data sets at 224 pixels (tables 14 and A.2).

Neither the paper nor DeiT-III states settings for it. These are the closest that its first author has published, for
DeiT: small data sets with SGD for 1000 epochs, iNaturalist with AdamW for 360. DeiT's drop rates were 0 and 0.1; 0
would turn co-training off, so they are those of table A.1.
"""

from dataclasses import dataclass, replace

from cosub.paper.recipes.imagenet import RAND_AUGMENT
from cosub.paper.recipes.paper import Entry, Printed, pair
from cosub.recipes.architectures import ARCHITECTURES
from cosub.recipes.data import INaturalist, Torchvision
from cosub.recipes.methods import Cosub
from cosub.recipes.optimizer import Optimizer
from cosub.recipes.recipe import Recipe

GROUP = "Transfer from ImageNet-1k"


@dataclass(frozen=True)
class Target:
    """A data set of table A.2, with table 14's results for ViT-S, B and L: baseline and co-training."""

    title: str
    data: Torchvision | INaturalist
    images: int
    classes: int
    scores: tuple[tuple[float, float], ...]


TARGETS = {
    "cifar10": Target("Cifar-10", Torchvision(name="cifar10"), 50_000, 10, ((98.9, 99.1), (99.3, 99.1), (99.3, 99.4))),
    "cifar100": Target(
        "Cifar-100", Torchvision(name="cifar100"), 50_000, 100, ((90.6, 91.7), (92.5, 92.6), (93.4, 93.5))
    ),
    "flowers": Target(
        "Flowers", Torchvision(name="flowers102"), 2_040, 102, ((96.4, 97.4), (98.6, 98.4), (98.9, 98.8))
    ),
    "cars": Target("Cars", Torchvision(name="cars"), 8_144, 196, ((89.9, 93.0), (93.4, 93.5), (94.5, 94.5))),
    "inat18": Target("iNat-18", INaturalist(year=2018), 437_513, 8_142, ((67.1, 70.1), (73.6, 74.1), (75.6, 76.2))),
    "inat19": Target("iNat-19", INaturalist(year=2019), 265_240, 1_010, ((72.7, 75.6), (78.0, 78.1), (79.3, 80.1))),
}

_SMALL = Optimizer(name="sgd", weight_decay=1e-4, lr_rule="constant")
_LARGE = Optimizer(weight_decay=0.05, lr_rule="constant")


def _entry(name: str, size: str, scores: tuple[float, float]) -> Entry:
    target, known, large = TARGETS[name], ARCHITECTURES[size], name.startswith("inat")
    recipe = Recipe(
        name=f"{size}-to-{name}",
        model=known.model,
        weights=f"out/{size}-800-cosub-0",
        classes=target.classes,
        method=Cosub(loss="ce-soft"),
        drop_rate=known.imagenet,
        epochs=360 if large else 1000,
        batch_size=768,
        group_size=64,
        lr=7.5e-5 if large else 1e-2,
        data=target.data,
        augment=replace(RAND_AUGMENT, repeats=3) if large else RAND_AUGMENT,
        optimizer=_LARGE if large else _SMALL,
    )
    steps = recipe.epochs * (target.images // recipe.batch_size)
    return Entry(
        GROUP,
        f"{known.title} on {target.title}, {recipe.epochs} epochs at 224 pixels",
        recipe,
        f"{recipe.epochs} epochs of {target.images:,} images, {steps:,} steps of {recipe.batch_size}; "
        "the paper does not say its GPU days",
        _rows(f"{known.title}, {target.title}", scores, f"{size}-800"),
        inferred=(
            "drop_rate",
            "epochs",
            "batch_size",
            "method.loss",
            "lr",
            "optimizer.name",
            "optimizer.weight_decay",
            "augment.policy",
        ),
    )


def _rows(title: str, scores: tuple[float, float], before: str) -> tuple[Printed, ...]:
    rows = pair("14", title, scores[:1], scores[1:], before)
    return tuple(replace(row, numbers={"top-1": row.numbers["val"]}) for row in rows)


ENTRIES = [
    _entry(name, size, scores)
    for name, target in TARGETS.items()
    for size, scores in zip(("deit3-s", "deit3-b", "deit3-l"), target.scores, strict=True)
]
