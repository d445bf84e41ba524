"""The arms of a comparison: what submodel co-training is made of, one step after another from timm's drop path."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from cosub.choices import ArmName
from cosub.paper.studies.grid import Cell, Study
from cosub.recipes.changes import changed
from cosub.recipes.recipe import Recipe, method_for

FIRST: ArmName = "masking"
"""What the others are compared with."""


@dataclass(frozen=True)
class Arm:
    """A way to train a recipe, which keeps its loss (binary or softmax), rate and learning rate."""

    title: str
    """In a sentence."""
    recipe: Callable[[Recipe], Recipe]
    rows: Callable[[float], float]
    """Rows that a residual layer computes per image, of the drop rate."""


def _supervised(recipe: Recipe) -> Recipe:
    return replace(recipe, method=method_for(recipe, "supervised"))


def _masked(recipe: Recipe) -> Recipe:
    return replace(_supervised(recipe), rounding="masked")


def _co_trained(recipe: Recipe) -> Recipe:
    return replace(recipe, method=method_for(recipe, "cosub"))


def _two_copies(recipe: Recipe) -> Recipe:
    return changed(_co_trained(recipe), {"method.weight": 1.0})


ARMS: dict[str, Arm] = {
    FIRST: Arm("timm's masked drop path", _masked, lambda rate: 1.0),
    "stochastic-depth": Arm("efficient stochastic depth", _supervised, lambda rate: 1 - rate),
    "two-copies": Arm("two submodels per image without co-training", _two_copies, lambda rate: 2 * (1 - rate)),
    "co-training": Arm("submodel co-training", _co_trained, lambda rate: 2 * (1 - rate)),
}


def arms(recipe: Recipe) -> Study:
    """All arms at equal compute: epochs such that residual layers compute as many rows as masking does."""
    cells = [
        Cell(
            name,
            changed(arm.recipe(recipe), {"epochs": max(1, round(recipe.epochs / arm.rows(recipe.drop_rate)))}),
            "" if name == FIRST else FIRST,
        )
        for name, arm in ARMS.items()
    ]
    return Study(
        "arms",
        "What each part adds, at equal compute",
        "stochastic depth of a fixed number of rows has no effect on accuracy (section 4); two copies without "
        "co-training 82.91, with it 83.55 (ViT-H, Table 5)",
        tuple(cells),
        seeds=5,
    )
