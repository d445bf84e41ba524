"""Studies of two trainings, of which the second starts from the weights of the first: tables 8, 10 and 14."""

from typing import Any

from cosub.paper.recipes.imagenet21k import LAYER_DECAY_FACTOR
from cosub.paper.studies.grid import Cell, Study
from cosub.paper.studies.pairs import BASELINE, pair
from cosub.recipes.augmentation import Augment
from cosub.recipes.changes import changed
from cosub.recipes.data import Digits
from cosub.recipes.methods import Cosub, Supervised
from cosub.recipes.recipe import Recipe

DECAYS = (1.0, 0.85, 0.7, 0.5)


def table8(recipe: Recipe) -> Study:
    """Trained at a lower resolution, then fine-tuned at the recipe's own for a tenth of the epochs with the same
    method."""
    whole = recipe.resolution
    if whole // 4 < int(recipe.model_args.get("patch_size", 1)):  # pyright: ignore[reportArgumentType]
        recipe = changed(recipe, {"model_args.patch_size": whole // 4})
    patch = int(recipe.model_args.get("patch_size", 1))  # pyright: ignore[reportArgumentType]
    cells: list[Cell] = []
    for resolution in sorted({max(whole * part // 4 // patch, 1) * patch for part in (2, 3)}):
        name = f"{resolution} pixels"
        for cell in pair(recipe, f"{name}, trained", changes={"resolution": resolution}):
            tuned = changed(cell.recipe, {"resolution": whole, **_fine_tuning(recipe)})
            start, series = cell.name, cell.series
            baseline = "" if series == BASELINE else f"{name}, {BASELINE}"
            cells.append(Cell(cell.name, cell.recipe, shown=False))
            cells.append(Cell(f"{name}, {series}", tuned, baseline, {"weights": start}, resolution, series))
    return Study(
        "table8",
        f"Resolution of training, fine-tuned and tested at {whole} pixels",
        "gains at every resolution (ViT-B 128: 83.5 to 83.8; ViT-L 128: 84.5 to 85.1)",
        (*cells, *pair(recipe, f"{whole} pixels", whole)),
        axis="pixels in training",
    )


def _fine_tuning(recipe: Recipe) -> dict[str, Any]:
    epochs = max(1, recipe.epochs // 10)
    return {"epochs": epochs, "lr": recipe.lr / 10, "optimizer.warmup_epochs": epochs / 10}


def table10(recipe: Recipe) -> Study:
    """Pre-trained on the recipe's images with cosub, fine-tuned on digits; with layer decay at twice the learning rate
    (equation A.2)."""
    tuned = changed(_on_digits(recipe), {"method": Cosub()})
    cells = [
        Cell(
            f"layer decay {decay:g}",
            changed(
                tuned, {"optimizer.layer_decay": decay, "lr": tuned.lr * (1 if decay == 1 else LAYER_DECAY_FACTOR)}
            ),
            "" if decay == 1 else "layer decay 1",
            {"weights": "pre-trained"},
            decay,
            "cosub",
        )
        for decay in DECAYS
    ]
    return Study(
        "table10",
        "Layer decay in fine-tuning, photographs to digits",
        "ViT-S 82.5 to 82.7, ViT-B 85.8 to 86.0, ViT-L 87.4 to 87.5 with layer decay",
        (Cell("pre-trained", changed(recipe, {"method": Cosub()}), shown=False), *cells),
        axis="layer decay",
        choose=True,
    )


def transfer(recipe: Recipe) -> Study:
    """Pre-trained on the recipe's images and fine-tuned on digits, both with the same method; and from scratch."""
    cells: list[Cell] = []
    for method in (Supervised(), Cosub()):
        start = f"photographs, {method.kind}"
        tuned = changed(_on_digits(recipe), {"method": method})
        baseline = "" if method.kind == BASELINE else f"pre-trained, {BASELINE}"
        cells.append(Cell(start, changed(recipe, {"method": method}), shown=False))
        cells.append(Cell(f"pre-trained, {method.kind}", tuned, baseline, {"weights": start}))
    return Study(
        "transfer",
        "Transfer, photographs to digits",
        "ViT-S: CIFAR-10 98.9 to 99.1, Cars 89.9 to 93.0, iNaturalist-18 67.1 to 70.1; less for larger networks",
        (*cells, *pair(_on_digits(recipe), "from scratch")),
    )


def _on_digits(recipe: Recipe) -> Recipe:
    """The same network on few digits, for a quarter of the epochs."""
    data = Digits(test_share=0.5, train_images=100, validation_images=500)
    few = {"data": data, "augment": Augment(crop="center", flip=0.0, policy="", jitter=0.0)}
    return changed(recipe, {**few, "batch_size": 50, "group_size": 50, "epochs": max(1, recipe.epochs // 4)})
