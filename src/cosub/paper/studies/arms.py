"""The arms of a comparison: what submodel co-training is made of, one step after another from timm's drop path."""

import dataclasses
from collections.abc import Callable, Mapping
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


RATES = (0.1, 0.3, 0.5)
FACTORS = (0.5, 1.0)
"""Of the recipe's learning rate."""
BUDGETS = (0.25, 0.5, 1.0, 2.0)
"""Of the compute of masking for the recipe's epochs. The last was added when the results of the others were known."""
PILOT = 100
"""The seed of the runs that choose."""

CHOSEN: Mapping[str, Mapping[str, tuple[float, float]]] = {
    "cifar10-500": {
        "masking": (0.1, 5e-3),
        "stochastic-depth": (0.5, 5e-3),
        "two-copies": (0.5, 5e-3),
        "co-training": (0.5, 5e-3),
    },
}
"""By recipe and arm: drop rate and learning rate, of the pilot's those that were best on validation images."""


def arms(recipe: Recipe) -> Study:
    """All arms at equal compute, which is that of masking for the recipe's epochs."""
    return Study(
        "arms",
        "What each part adds, at equal compute",
        _PAPER,
        _row(recipe, 1.0),
        seeds=5,
        calibrated=_held_out(recipe),
    )


def budgets(recipe: Recipe) -> Study:
    """The same at other budgets too."""
    cells = [cell for budget in BUDGETS for cell in _row(recipe, budget)]
    return Study(
        "arms-budgets",
        "Accuracy against compute",
        _PAPER,
        tuple(cells),
        axis="compute, in epochs of masking",
        log=True,
        seeds=5,
        calibrated=_held_out(recipe),
    )


def equal_epochs(recipe: Recipe) -> Study:
    """Masking as it was chosen, and efficient stochastic depth with the same rates for as many epochs, at half of the
    compute: what it costs to drop a fixed number of rows, in accuracy."""
    masking = _row(recipe, 0.5)[0]
    dropped = changed(masking.recipe, {"rounding": recipe.rounding})
    return Study(
        "equal-epochs",
        "Efficient stochastic depth and masking at equal epochs",
        "no effect on accuracy (section 4)",
        (
            dataclasses.replace(masking, name=FIRST),
            Cell("stochastic-depth", dropped, FIRST, series="stochastic-depth"),
        ),
        seeds=5,
    )


def pilot(recipe: Recipe) -> Study:
    """Each arm at each rate and learning rate, at half of the compute."""
    cells = [
        at(name, changed(recipe, {"drop_rate": rate, "lr": factor * recipe.lr}), 0.5, f"rate {rate:g}, lr x {factor:g}")
        for name in ARMS
        for rate in RATES
        for factor in FACTORS
    ]
    return Study(
        "arms-pilot",
        "Drop rate and learning rate of each arm",
        "",
        tuple(cells),
        seeds=1,
        points=1,
        first_seed=PILOT,
    )


_PAPER = (
    "stochastic depth of a fixed number of rows has no effect on accuracy (section 4); two copies without "
    "co-training 82.91, with it 83.55 (ViT-H, Table 5)"
)


def _row(recipe: Recipe, budget: float) -> tuple[Cell, ...]:
    """All arms, each as it was chosen, or with the recipe's own rates."""
    chosen = CHOSEN.get(recipe.name, {})
    cells = []
    for name in ARMS:
        rate, lr = chosen.get(name, (recipe.drop_rate, recipe.lr))
        cells.append(at(name, changed(recipe, {"drop_rate": rate, "lr": lr}), budget))
    return tuple(cells)


def at(name: str, recipe: Recipe, budget: float, how: str = "") -> Cell:
    """An arm for so many epochs that its residual layers process as many rows as masking's in that share of the
    recipe's epochs. The warm-up keeps its share of them."""
    masked = budget * recipe.epochs
    epochs = max(1, round(masked / ARMS[name].rows(recipe.drop_rate)))
    values = {"epochs": epochs, "optimizer.warmup_epochs": recipe.optimizer.warmup_epochs * epochs / recipe.epochs}
    prefix = "" if budget == 1 or how else f"{masked:g} epochs, "
    return Cell(
        f"{prefix}{name}" + (f", {how}" if how else ""),
        changed(ARMS[name].recipe(recipe), values),
        "" if name == FIRST or how else f"{prefix}{FIRST}",
        x=masked,
        series=name,
    )


def _held_out(recipe: Recipe) -> bool:
    """Whether there are validation images to fit a temperature on."""
    return getattr(recipe.data, "validation_images", 0) > 0
