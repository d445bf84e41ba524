"""ImageNet-21k: training of 90 and 270 epochs, then 50 epochs on ImageNet-1k (tables 9, 10, 12, B.1 and B.2).

The text of Appendix A.1 has AdamW, 1e-3 at a batch of 2048, then 1e-4, twice that with layer decay (equation A.2).
Recipes that end in -lamb have DeiT-III's LAMB: 1e-3, then 3e-4 without layer decay.
"""

from cosub.data.imagenet import IMAGENET, IMAGENET21K
from cosub.paper.recipes.paper import Entry, Printed, cost, pair, with_lamb
from cosub.recipes.architectures import (
    ARCHITECTURES,
    EXTRA_DROP_RATE,
    Architecture,
    group_size,
    inferred_drop_rate,
)
from cosub.recipes.augmentation import Augment
from cosub.recipes.data import Folder
from cosub.recipes.methods import Cosub
from cosub.recipes.optimizer import Optimizer
from cosub.recipes.recipe import Recipe

VIT = "ImageNet-21k: ViT"
OTHERS = "ImageNet-21k: other architectures"
FINE_TUNED = "ImageNet-1k after ImageNet-21k, 50 epochs: ViT"
OTHERS_FINE_TUNED = "ImageNet-1k after ImageNet-21k, 50 epochs: other architectures"

SIMPLE_CROP = Augment(crop="simple", policy="3a", jitter=0.3, cutmix=1.0, smoothing=0.1)
LAYER_DECAY_FACTOR = 2  # C_LD of equation A.2

Stage = tuple[str, int, int]  # architecture, epochs and pixels of the training on 21k

_SIZES = ("deit3-s", "deit3-m", "deit3-b", "deit3-l", "deit3-h")
_OTHERS = ("resnet152", "regnety-16gf", "pit-b", "convnext-s", "convnext-b")
_OTHERS += ("xcit-s12", "xcit-m24", "xcit-l24", "swin-b", "swin-l")
_TABLE_9 = (
    "Table 9: 336 and 448 pixels come after 21k at 224, except for ViT-S; hence ViT-S, and 112, after 21k at the same"
)


def _both_tables(title: str, in_b1: str, scores: tuple[float, ...]) -> tuple[Printed, ...]:
    """The rows of a network that is both in table 12 and in B.1."""
    return (*pair("12", title, None, scores), *pair("B.1", in_b1, None, scores))


# Rows by recipe. Those without layer decay belong to the recipe that has none.
_ROWS: dict[str, tuple[Printed, ...]] = {
    "deit3-s-21k-90-1k": pair("10", "ViT-S, 90 epochs, layer decay", None, (82.7,)),
    "deit3-s-21k-90-1k-nodecay": pair("10", "ViT-S, 90 epochs", (82.6,), (82.5,), "deit3-s-21k-90"),
    "deit3-s-21k-270-1k": (
        *pair("9", "ViT-S, 224", None, (83.1, 73.7)),
        *pair("10", "ViT-S, 270 epochs, layer decay", None, (83.1,)),
        *pair("12", "ViT-S", None, (83.1, 73.7)),
    ),
    "deit3-s-21k-270-1k-nodecay": pair("10", "ViT-S, 270 epochs", None, (82.8,)),
    "deit3-m-21k-270-1k": (
        *pair("9", "ViT-M, 224", None, (85.0, 76.0)),
        *pair("12", "ViT-M", None, (85.0, 76.0)),
    ),
    "deit3-b-21k-90-1k": (
        *pair("10", "ViT-B, 90 epochs, layer decay", None, (86.0,)),
        *pair("B.2", "ViT-B, 21k, 90 epochs", None, (86.0, 89.8, 77.0)),
    ),
    "deit3-b-21k-90-1k-nodecay": pair("10", "ViT-B, 90 epochs", (85.2,), (85.8,), "deit3-b-21k-90"),
    "deit3-b-21k-270-1k": (
        *pair("9", "ViT-B, 224", None, (86.3, 77.0)),
        *pair("10", "ViT-B, 270 epochs, layer decay", None, (86.3,)),
        *pair("12", "ViT-B", None, (86.3, 77.0)),
        *pair("B.2", "ViT-B, 21k, 270 epochs", None, (86.3, 89.7, 77.0)),
    ),
    "deit3-b-21k-270-1k-nodecay": (
        *pair("10", "ViT-B, 270 epochs", None, (86.0,)),
        *pair("12", "ViT-B", (85.7, 76.5), None, "deit3-b-21k-270"),
    ),
    "deit3-l-21k-90-1k": (
        *pair("10", "ViT-L, 90 epochs, layer decay", None, (87.5,)),
        *pair("B.2", "ViT-L, 21k, 90 epochs", None, (87.5, 90.3, 79.1)),
    ),
    "deit3-l-21k-90-1k-nodecay": pair("10", "ViT-L, 90 epochs", (86.8,), (87.4,), "deit3-l-21k-90"),
    "deit3-l-21k-270-1k": (
        *pair("9", "ViT-L, 224", None, (87.5, 79.1)),
        *pair("10", "ViT-L, 270 epochs, layer decay", None, (87.5,)),
        *pair("12", "ViT-L", None, (87.5, 79.1)),
    ),
    "deit3-l-21k-270-1k-nodecay": (
        *pair("10", "ViT-L, 270 epochs", None, (87.4,)),
        *pair("12", "ViT-L", (87.0, 78.6), None, "deit3-l-21k-270"),
    ),
    "deit3-h-21k-270-1k": (
        *pair("9", "ViT-H, 224", None, (88.0, 79.6)),
        *pair("12", "ViT-H", None, (88.0, 80.0)),
    ),
    "deit3-h-21k-270-1k-nodecay": pair("12", "ViT-H", (87.2, 79.2), None, "deit3-h-21k-270"),
    "deit3-s-21k-270-112px-1k": pair("9", "ViT-S, 112", None, (78.0, 66.6)),
    "deit3-m-21k-270-112px-1k": pair("9", "ViT-M, 112", None, (80.6, 69.6)),
    "deit3-b-21k-270-112px-1k": pair("9", "ViT-B, 112", None, (82.8, 72.1)),
    "deit3-l-21k-270-112px-1k": pair("9", "ViT-L, 112", None, (85.4, 75.7)),
    "deit3-h-21k-270-112px-1k": pair("9", "ViT-H, 112", None, (86.2, 76.9)),
    "deit3-g-21k-90-112px-1k": pair("9", "ViT-g, 112", None, (86.5, 77.3)),
    "deit3-s-21k-270-336px-1k": pair("9", "ViT-S, 336", None, (84.6, 75.1)),
    "deit3-s-21k-270-448px-1k": pair("9", "ViT-S, 448", None, (85.2, 76.3)),
    "deit3-m-21k-270-1k-336px": pair("9", "ViT-M, 336", None, (86.0, 76.8)),
    "deit3-m-21k-270-1k-448px": pair("9", "ViT-M, 448", None, (86.3, 77.2)),
    "deit3-b-21k-270-1k-336px": pair("9", "ViT-B, 336", None, (86.9, 77.9)),
    "deit3-b-21k-270-1k-448px": pair("9", "ViT-B, 448", None, (87.4, 78.3)),
    "deit3-l-21k-270-1k-336px": pair("9", "ViT-L, 336", None, (88.1, 79.8)),
    "deit3-l-21k-270-1k-448px": pair("9", "ViT-L, 448", None, (88.3, 80.0)),
    "resnet152-21k-90-1k": _both_tables("ResNet-152", "ResNet-152", (83.1, 73.1)),
    "regnety-16gf-21k-90-1k": _both_tables("RegNetY-16GF", "RegNet-16GF", (84.2, 74.7)),
    "pit-b-21k-90-1k": _both_tables("PiT-B", "PiT-B", (85.8, 76.8)),
    "convnext-s-21k-90-1k": _both_tables("ConvNeXt-S", "ConvNeXt-S", (85.2, 76.0)),
    "convnext-b-21k-90-1k": _both_tables("ConvNeXt-B", "ConvNeXt-B", (85.8, 76.9)),
    "xcit-s12-21k-90-1k": _both_tables("XCiT-S12", "XCiT-S12", (84.2, 74.9)),
    "xcit-m24-21k-90-1k": (
        *pair("12", "XCiT-M24", None, (86.5, 78.0)),
        *pair("B.1", "XCiT-M24", None, (86.5, 77.9)),
    ),
    "xcit-l24-21k-90-1k": _both_tables("XCiT-L24", "XCiT-L24", (87.2, 77.8)),
    "swin-b-21k-90-1k": _both_tables("Swin-B", "Swin-B", (86.2, 77.2)),
    "swin-l-21k-90-1k": _both_tables("Swin-L", "Swin-L", (87.1, 78.1)),
}


def drop_rate(architecture: Architecture, epochs: int, resolution: int) -> float:
    """The rate of table A.1 on 21k; 0.05 more for 270 epochs, or more than 224 pixels, or both."""
    more = EXTRA_DROP_RATE if epochs == 270 or resolution > 224 else 0.0
    return round(architecture.imagenet21k + more, 2)


def _name(architecture: str, epochs: int, resolution: int) -> str:
    return f"{architecture}-21k-{epochs}" + ("" if resolution == 224 else f"-{resolution}px")


def _from_scratch(name: str, epochs: int, resolution: int = 224) -> Entry:
    known = ARCHITECTURES[name]
    recipe = Recipe(
        name=_name(name, epochs, resolution),
        model=known.model,
        resolution=resolution,
        classes=IMAGENET21K,
        method=Cosub(loss="ce-soft"),
        drop_rate=drop_rate(known, epochs, resolution),
        epochs=epochs,
        batch_size=2048,
        group_size=group_size(known),
        lr=1e-3,
        data=Folder(),
        augment=SIMPLE_CROP,
    )
    return Entry(
        VIT if name.startswith("deit3") else OTHERS,
        f"{known.title} on ImageNet-21k, {epochs} epochs at {resolution} pixels",
        recipe,
        cost(recipe),
        notes=(
            "The paper has results on ImageNet-1k only: they are with the recipes that start from this one",
            *((_TABLE_9,) if resolution != 224 else ()),
        ),
        inferred=(*inferred_drop_rate(known, "imagenet21k"), *(("resolution",) if resolution == 112 else ())),
    )


def _to_imagenet(name: str, epochs: int, trained_at: int = 224, resolution: int = 0, *, decay: bool = True) -> Entry:
    """50 epochs on ImageNet-1k, by default at the resolution of the training on 21k."""
    known, before, pixels = ARCHITECTURES[name], _name(name, epochs, trained_at), resolution or trained_at
    decayed = decay and known.layer_decay < 1
    ending = (f"-{resolution}px" if resolution else "") + ("" if decay else "-nodecay")
    recipe = Recipe(
        name=f"{before}-1k{ending}",
        model=known.model,
        weights=f"out/{before}-cosub-0",
        resolution=pixels,
        classes=IMAGENET,
        method=Cosub(loss="ce-soft"),
        drop_rate=drop_rate(known, epochs, pixels),
        epochs=50,
        batch_size=2048,
        group_size=group_size(known),
        lr=1e-4 * (LAYER_DECAY_FACTOR if decayed else 1),
        data=Folder(),
        augment=SIMPLE_CROP,
        optimizer=Optimizer(layer_decay=known.layer_decay if decayed else 1.0),
    )
    rows = _ROWS.get(recipe.name, ())
    return Entry(
        FINE_TUNED if name.startswith("deit3") else OTHERS_FINE_TUNED,
        f"{known.title}, 50 epochs at {pixels} pixels after {epochs} on 21k"
        + (f", layer decay {known.layer_decay:g}" if decayed else ""),
        recipe,
        cost(recipe),
        rows,
        (
            "The drop rate is that of 21k: the paper states none for this stage",
            *((_TABLE_9,) if pixels != 224 else ()),
            *((_deit3(name),) if any(row.table == "12" and row.options for row in rows) else ()),
            *(("The paper does not state whether it has layer decay: off",) if decay and not decayed else ()),
        ),
        ("drop_rate", *(("optimizer.layer_decay",) if decayed and "layer_decay" in known.inferred else ())),
    )


def _deit3(name: str) -> str:
    """How the baseline of table 12 was trained by its authors."""
    how = "90 epochs, at 126 pixels" if name == "deit3-h" else "240 epochs"
    return f"DeiT-III's row of table 12 is after {how}, at its own drop rates, with LAMB"


def _lamb(known: str, epochs: int) -> list[Entry]:
    """Both stages with DeiT-III's optimizer."""
    first, second = with_lamb(_from_scratch(known, epochs), 1e-3), _to_imagenet(known, epochs, decay=False)
    return [first, with_lamb(second, 3e-4, weights=f"out/{first.name}-cosub-0")]


def _entries() -> list[Entry]:
    both: list[Stage] = [(size, epochs, 224) for size in _SIZES for epochs in (90, 270)]
    low: list[Stage] = [*((size, 270, 112) for size in _SIZES), ("deit3-g", 90, 112)]
    high: list[Stage] = [("deit3-s", 270, pixels) for pixels in (336, 448)]
    return [
        *(_from_scratch(*stage) for stage in both),
        *(_from_scratch(*stage) for stage in (*low, *high)),
        *(_from_scratch(name, 90) for name in _OTHERS),
        *(_to_imagenet(*stage, decay=decay) for stage in both for decay in (True, False)),
        *(entry for size, epochs, _ in both for entry in _lamb(size, epochs)),
        *(_to_imagenet(*stage) for stage in (*low, *high)),
        *(_to_imagenet(size, 270, 224, pixels) for size in _SIZES[1:4] for pixels in (336, 448)),
        *(_to_imagenet(name, 90) for name in _OTHERS),
    ]


ENTRIES = _entries()
