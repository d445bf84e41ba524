"""The studies: each makes, from a recipe, the cells of a table or figure of the paper, at small scale."""

import dataclasses
from typing import Any, get_args

from cosub.choices import CosubKind
from cosub.errors import InputError
from cosub.paper.studies.arms import arms, budgets, equal_epochs, pilot
from cosub.paper.studies.grid import Cell, Make, Study
from cosub.paper.studies.pairs import BASELINE, pair, pairs
from cosub.paper.studies.pretraining import table8, table10, transfer
from cosub.recipes.changes import changed
from cosub.recipes.methods import Cosub, CosubDistill, Cotrain, Distill, MeanTeacher, MethodConfig, Supervised
from cosub.recipes.recipe import Recipe

WEIGHTS = (0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
RATES = (0.2, 0.4, 0.6)
MOMENTA = (0.9, 0.99, 0.999)


def table1(recipe: Recipe) -> Study:
    sizes = {"S": (32, 6, 0.05), "M": (48, 8, 0.1), "B": (64, 12, 0.2), "L": (64, 18, 0.45)}
    rows = []
    for name, (width, depth, rate) in sizes.items():
        shape = {"model_args.embed_dim": width, "model_args.depth": depth, "drop_rate": rate}
        rows.append((f"{name} ({depth} x {width}, rate {rate:g})", None, shape))
    return Study(
        "table1",
        "Sizes, with the paper's drop rates",
        "the gain grows with size and drop rate, from +0.1 (ViT-S, 0.05) to +0.6 (ViT-H, 0.6)",
        pairs(recipe, rows),
    )


def table2(recipe: Recipe) -> Study:
    """Each family at 32 pixels, on 4 x 4 to 16 x 16 tokens; the drop rates are the paper's where it has them."""
    swin = {"patch_size": 4, "embed_dim": 24, "window_size": 4}
    families = {
        "ViT": ("vit_tiny_patch16_224", {"patch_size": 8, "embed_dim": 64, "depth": 12, "num_heads": 4}, 0.45),
        "Swin": ("swin_tiny_patch4_window7_224", {**swin, "depths": (2, 2, 6), "num_heads": (3, 6, 12)}, 0.2),
        "ConvNeXt": ("convnext_atto", {"depths": (1, 2, 4, 1), "dims": (24, 48, 96, 192)}, 0.2),
        "ResNet": ("resnet26", {"channels": (16, 32, 64, 128)}, 0.2),
    }
    rows = [
        (f"{name}, rate {rate:g}", None, {"model": model, "model_args": args, "drop_rate": rate, "resolution": 32})
        for name, (model, args, rate) in families.items()
    ]
    return Study(
        "table2",
        "Architectures",
        "+0.1 (ResNet-50) to +3.2 (Swin-L); +0.4 for most",
        pairs(recipe, rows),
    )


def table3(recipe: Recipe) -> Study:
    supervised, _ = pair(recipe)
    kinds = [Cell(kind, changed(recipe, {"method": Cosub(loss=kind)}), BASELINE) for kind in get_args(CosubKind)]
    return Study(
        "table3",
        "Kinds of the loss",
        "BCE soft 83.5, BCE hard 83.5, CE hard 81.9 (ViT-H)",
        (supervised, *kinds),
        choose=True,
    )


def table4(recipe: Recipe) -> Study:
    """The teacher is the same network, supervised and without dropping."""
    teacher = changed(recipe, {"method": Supervised(), "drop_rate": 0.0})
    methods: dict[str, MethodConfig] = {
        "distill": Distill(loss="bce-soft"),
        **{f"mean teacher, momentum {value:g}": MeanTeacher(momentum=value) for value in MOMENTA},
        "two networks": Cotrain(),
        "cosub": Cosub(),
        "cosub and distill": CosubDistill(teacher_answer="soft"),
    }
    cells = [
        Cell(
            name,
            changed(recipe, {"method": method}),
            BASELINE,
            {"method.teacher": "teacher"} if isinstance(method, Distill | CosubDistill) else {},
        )
        for name, method in methods.items()
    ]
    return Study(
        "table4",
        "Methods",
        "ViT-L: supervised 84.5, distill 85.3, mean teacher 84.4, two networks 82.6, cosub 84.9, both 85.3",
        (Cell("teacher", teacher, BASELINE), pair(recipe)[0], *cells),
        choose=True,
    )


def table5(recipe: Recipe) -> Study:
    """Weight 1 is supervised training on two copies of an image, each through its own submodel."""
    cells = [
        Cell(
            f"weight {weight:g}",
            changed(recipe, {"method": Cosub(weight=weight)}),
            "" if weight == 1 else "weight 1",
            x=weight,
            series="cosub",
        )
        for weight in WEIGHTS
    ]
    return Study(
        "table5",
        "Weight of the label",
        "0.1: 79.05, 0.3: 83.27, 0.5: 83.55, 0.7: 83.20, 0.9: 83.04, 1: 82.91 (ViT-H)",
        tuple(cells),
        axis="weight of the label",
        choose=True,
    )


def table6(recipe: Recipe) -> Study:
    epochs = [max(1, round(recipe.epochs * factor)) for factor in (0.5, 1, 2)]
    return Study(
        "table6",
        "Epochs",
        "the baseline saturates or falls between 400 and 1600 epochs, cosub less",
        pairs(recipe, [(f"{number} epochs", number, {"epochs": number}) for number in epochs]),
        axis="epochs",
        log=True,
    )


def figure4(recipe: Recipe) -> Study:
    return Study(
        "figure4",
        "The full networks of figure 4",
        "submodels gain on average over the whole population",
        pair(recipe),
        weights=True,
    )


def figure5(recipe: Recipe) -> Study:
    return Study(
        "figure5",
        "Over-fitting: images trained on and held out, over the epochs",
        "cosub does not over-fit more than the baseline",
        pair(recipe),
        points=10,
    )


def esd(recipe: Recipe) -> Study:
    cells: list[Cell] = []
    for method in (Supervised(), Cosub()):
        fixed = f"{method.kind}, fixed number"
        at = changed(recipe, {"method": method})
        cells.append(Cell(fixed, at))
        cells.append(Cell(f"{method.kind}, each row by chance", changed(at, {"rounding": "bernoulli"}), fixed))
    return Study(
        "esd",
        "A fixed number of rows in each layer, or each row by chance",
        "no effect on accuracy (section 4)",
        tuple(cells),
    )


def schedule(recipe: Recipe) -> Study:
    """A linear schedule has half its last rate on average."""
    rate = recipe.drop_rate
    rows = [
        (f"uniform, {rate:g}", None, {}),
        (f"linear to {rate:g}", None, {"schedule": "linear"}),
        (f"linear to {min(2 * rate, 0.9):g}", None, {"schedule": "linear", "drop_rate": min(2 * rate, 0.9)}),
    ]
    return Study(
        "schedule",
        "The drop rate over depth",
        "uniform is as effective as progressive, and allows mean rates above 0.5 (section 4)",
        pairs(recipe, rows),
    )


def rate(recipe: Recipe) -> Study:
    undropped = changed(recipe, {"method": Supervised(), "drop_rate": 0.0})
    rows = [(f"rate {value:g}", value, {"drop_rate": value}) for value in RATES]
    return Study(
        "rate",
        "Drop rate",
        "the rate is chosen for the baseline and kept; gains grow with it",
        (Cell("rate 0, supervised", undropped, x=0.0, series=BASELINE), *pairs(recipe, rows)),
        axis="drop rate",
        choose=True,
    )


def cost(recipe: Recipe) -> Study:
    """A co-training step computes at most twice as much: twice the epochs are equal time and a little more."""
    supervised, cosub = pair(recipe)
    longer = [
        Cell(
            f"{BASELINE}, {factor:g} x epochs",
            changed(supervised.recipe, {"epochs": round(recipe.epochs * factor)}),
            BASELINE,
        )
        for factor in (1.5, 2)
    ]
    shorter = Cell("cosub, 0.5 x epochs", changed(cosub.recipe, {"epochs": max(1, recipe.epochs // 2)}), BASELINE)
    return Study(
        "cost",
        "Equal epochs and equal time",
        "compared at equal epochs; a cosub epoch takes 2.0 (ViT-L) and 1.4 (ViT-H) times as long (Table 7)",
        (supervised, *longer, shorter, dataclasses.replace(cosub, equal_time=longer[-1].name)),
    )


def headline(recipe: Recipe) -> Study:
    supervised, cosub = pair(recipe)
    longer, twice = changed(supervised.recipe, {"epochs": 2 * recipe.epochs}), f"{BASELINE}, 2 x epochs"
    return Study(
        "headline",
        "Co-training against supervised training",
        "ViT-S 81.4 to 81.5, ViT-L 84.5 to 84.9, ViT-H 84.9 to 85.5 (Table 1)",
        (supervised, Cell(twice, longer, BASELINE), dataclasses.replace(cosub, equal_time=twice)),
        seeds=5,
    )


def images(recipe: Recipe) -> Study:
    return _where(recipe, "images", "data.train_images", (0.25, 0.5, 1), "training images")


def depth(recipe: Recipe) -> Study:
    return _where(recipe, "depth", "model_args.depth", (0.5, 1, 1.5), "blocks")


def _where(recipe: Recipe, name: str, key: str, factors: tuple[float, ...], axis: str) -> Study:
    """Where co-training begins to help."""
    head, _, rest = key.partition(".")
    part: Any = getattr(recipe, head)
    value = part.get(rest, 0) if isinstance(part, dict) else getattr(part, rest, 0)
    if not value:
        raise InputError(f"recipe: {recipe.name}: sets no {key}, which {name} varies; name another, e.g. digits-few")
    sizes = [max(1, round(value * factor)) for factor in factors]
    return Study(
        name,
        f"Co-training against the number of {axis}",
        "",
        pairs(recipe, [(f"{size} {axis}", size, {key: size}) for size in sizes]),
        axis=axis,
        log=True,
    )


STUDIES: dict[str, Make] = {
    "table1": table1,
    "table2": table2,
    "table3": table3,
    "table4": table4,
    "table5": table5,
    "table6": table6,
    "table8": table8,
    "table10": table10,
    "figure4": figure4,
    "figure5": figure5,
    "transfer": transfer,
    "esd": esd,
    "schedule": schedule,
    "rate": rate,
    "cost": cost,
    "headline": headline,
    "images": images,
    "depth": depth,
    "arms-pilot": pilot,
    "arms": arms,
    "arms-budgets": budgets,
    "equal-epochs": equal_epochs,
}
