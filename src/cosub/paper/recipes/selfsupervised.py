"""ImageNet-1k from self-supervised weights: table B.2's rows of MAE and BEiT, and co-training from their weights.

The paper compares with them and leaves co-training from them to future work, so it has no number for that. The training
is that after ImageNet-21k (equation A.2) with the layer decay that Appendix A.1 quotes for MAE and BEiT.
"""

from dataclasses import dataclass

from cosub.data.imagenet import IMAGENET
from cosub.paper.recipes.paper import Entry, Printed, Scores, cost, named
from cosub.recipes.architectures import ARCHITECTURES
from cosub.recipes.augmentation import Augment
from cosub.recipes.data import Folder
from cosub.recipes.inputs import Inputs
from cosub.recipes.methods import Cosub
from cosub.recipes.optimizer import Optimizer
from cosub.recipes.recipe import Recipe

GROUP = "ImageNet-1k from self-supervised weights: MAE, BEiT"

_HALF = (0.5, 0.5, 0.5)
_FILE = "--method supervised --weights FILE"


@dataclass(frozen=True)
class _Start:
    """Weights, and table B.2's results of fine-tuning them."""

    name: str
    size: str
    model: str
    weights: str
    epochs: int
    layer_decay: float
    rows: tuple[tuple[str, Scores, str], ...]
    mean: tuple[float, float, float] = Inputs.mean
    std: tuple[float, float, float] = Inputs.std
    global_pool: str = ""


_STARTS = (
    _Start(
        *("mae-b-1k", "deit3-b", "vit_base_patch16_224", "vit_base_patch16_224.mae", 100, 0.75),
        rows=(("ViT-B, MAE, 1600 epochs", (83.6, 88.1, 73.2), "--method supervised"),),
        global_pool="avg",
    ),
    _Start(
        *("mae-l-1k", "deit3-l", "vit_large_patch16_224", "vit_large_patch16_224.mae", 50, 0.75),
        rows=(("ViT-L, MAE, 1600 epochs", (85.9, 89.4, 76.5), "--method supervised"),),
        global_pool="avg",
    ),
    _Start(
        *("beit-b-1k", "deit3-b", "beit_base_patch16_224", "beit_base_patch16_224.in22k_ft_in22k", 50, 0.65),
        rows=(
            ("ViT-B, BeiT, 150 epochs", (83.7, 88.2, 73.1), _FILE),
            ("ViT-B, BeiT, 150 + 90 epochs", (85.2, 89.4, 75.4), "--method supervised"),
        ),
        mean=_HALF,
        std=_HALF,
    ),
    _Start(
        *("beit-l-1k", "deit3-l", "beit_large_patch16_224", "beit_large_patch16_224.in22k_ft_in22k", 50, 0.75),
        rows=(
            ("ViT-L, BeiT, 150 epochs", (86.0, 89.6, 76.7), _FILE),
            ("ViT-L, BeiT, 150 + 90 epochs", (87.5, 90.1, 78.8), "--method supervised"),
        ),
        mean=_HALF,
        std=_HALF,
    ),
)


def _entry(start: _Start) -> Entry:
    known = ARCHITECTURES[start.size]
    recipe = Recipe(
        name=start.name,
        model=start.model,
        model_args={"global_pool": start.global_pool} if start.global_pool else {},
        weights=f"timm:{start.weights}",
        classes=IMAGENET,
        method=Cosub(loss="ce-soft"),
        drop_rate=known.imagenet21k,
        epochs=start.epochs,
        batch_size=2048,
        group_size=64,
        lr=2e-4,
        data=Folder(),
        augment=Augment(policy="rand-m9-mstd0.5-inc1", jitter=0.0, mixup=0.8, cutmix=1.0, smoothing=0.1),
        inputs=Inputs(mean=start.mean, std=start.std),
        optimizer=Optimizer(layer_decay=start.layer_decay),
    )
    return Entry(
        GROUP,
        f"{known.title} on ImageNet-1k, {start.epochs} epochs from {start.weights}",
        recipe,
        cost(recipe),
        tuple(Printed("B.2", row, named(scores), options) for row, scores, options in start.rows),
        (
            "The numbers are from the weights' authors, with their own fine-tuning; none is published with co-training",
            *(
                ("FILE holds BEiT's weights from before training with labels, which timm does not have",)
                if start.name.startswith("beit")
                else ()
            ),
        ),
        ("drop_rate", "lr", "optimizer.layer_decay"),
    )


ENTRIES = [_entry(start) for start in _STARTS]
