"""What the paper's recipes are made of: an entry is a recipe with the rows of the tables that it reproduces."""

import dataclasses
import textwrap
from collections.abc import Callable
from dataclasses import dataclass

from cosub.data.imagenet import IMAGES
from cosub.recipes.recipe import Recipe

LAMB = "-lamb"  # suffix of the second preset's name
TEACHER = "--teacher regnety_160.deit_in1k"

Scores = tuple[float, ...]
_NAMES: dict[int, tuple[str, ...]] = {1: ("val",), 2: ("val", "v2"), 3: ("val", "real", "v2")}


@dataclass(frozen=True)
class Printed:
    """A row of a table: the paper's numbers, and the options with which the recipe is that row.

    Numbers are top-1 in percent on ImageNet's validation images (val), with ReaL's labels (real), on ImageNet-V2 (v2)
    or on a transfer data set (top-1); others have their unit as name.
    """

    table: str
    row: str
    numbers: dict[str, float]
    options: str = ""

    @property
    def result(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in self.numbers.items())


def pair(table: str, row: str, baseline: Scores | None, cosub: Scores | None, before: str = "") -> tuple[Printed, ...]:
    """The supervised baseline and co-training of one row; `before` is the recipe from whose result they start."""
    start = f" --weights out/{before}-supervised-0" if before else ""
    found = [(baseline, f"--method supervised{start}"), (cosub, "")]
    return tuple(Printed(table, row, named(scores), options) for scores, options in found if scores is not None)


def named(scores: Scores) -> dict[str, float]:
    return dict(zip(_NAMES[len(scores)], scores, strict=True))


@dataclass(frozen=True)
class Entry:
    """A recipe, its rows, and its cost.

    `inferred` names the recipe's fields whose values the paper does not publish; `notes` explain the choices made.
    """

    group: str
    purpose: str
    recipe: Recipe
    cost: str
    rows: tuple[Printed, ...] = ()
    notes: tuple[str, ...] = ()
    inferred: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.recipe.name

    @property
    def all_inferred(self) -> tuple[str, ...]:
        """Those of `inferred`, and gradient clipping: all recipes have it, and published code only with LAMB."""
        optimizer = self.recipe.optimizer
        clipped = optimizer.clip > 0 and optimizer.name != "lamb"
        return (*self.inferred, *(("optimizer.clip",) if clipped else ()))

    @property
    def before(self) -> str:
        """The recipe from whose result, in its default folder, this one starts; empty: none."""
        place, _, run = self.recipe.weights.rpartition("/")
        return run.removesuffix("-cosub-0") if place == "out" else ""

    def command(self, options: str = "") -> str:
        return f"cosub train {self.name} --data.path PATH {options}".rstrip()


def function(entry: Entry) -> Callable[[], Recipe]:
    """The recipe as a function whose docstring states cost, the paper's numbers and the command."""

    def build() -> Recipe:
        return entry.recipe

    build.__name__ = build.__qualname__ = entry.name.replace("-", "_")
    build.__doc__ = describe(entry)
    return build


def describe(entry: Entry) -> str:
    """The text of an entry: cost, the paper's numbers with their options, inferred values, command."""
    lines = [f"{entry.purpose}.", "", *textwrap.wrap(f"Cost: {entry.cost}.", 110)]
    lines += [] if entry.rows else ["The paper: not published."]
    for row in entry.rows:
        place = f"table {row.table}, {row.row}"
        lines += [f"The paper: {row.result} ({place})" + (f"   with {row.options}" if row.options else "")]
    lines += ["None of these numbers was measured here; accuracies are in percent."] if entry.rows else []
    notes = [*entry.notes]
    if inferred := entry.all_inferred:
        values = ", ".join(f"{name} {_value(entry.recipe, name)}" for name in inferred)
        notes = [f"Inferred, not in the paper: {values}", *notes]
    if entry.recipe.weights:
        notes.append(f"A classifier that the weights lack is initialised as in timm: --head {entry.recipe.head}")
    if before := entry.before:
        notes.append(f"Starts from the result of {before}; set another with --weights")
    return "\n".join(
        [*lines, *(line for note in notes for line in textwrap.wrap(f"{note}.", 110)), "", entry.command()]
    )


def _value(recipe: Recipe, name: str) -> object:
    value: object = recipe
    for part in name.split("."):
        value = getattr(value, part)
    return value


def cost(recipe: Recipe, published: str = "the paper does not state its GPU days") -> str:
    """Epochs, images and steps of training on ImageNet; `published` is the paper's figure of time."""
    images = IMAGES[recipe.classes]
    steps = recipe.epochs * (images // recipe.batch_size)
    return f"{recipe.epochs} epochs of {images:,} images, {steps:,} steps of {recipe.batch_size}; {published}"


def with_lamb(entry: Entry, lr: float, *, inferred: bool = False, weights: str = "") -> Entry:
    """The same entry with LAMB at DeiT-III's rate: the second reading of the paper's text."""
    recipe = dataclasses.replace(
        entry.recipe,
        name=f"{entry.name}{LAMB}",
        weights=weights,
        lr=lr,
        optimizer=dataclasses.replace(entry.recipe.optimizer, name="lamb"),
    )
    note = (
        "The paper's text has AdamW at the rate of Appendix A.1; its defaults are DeiT-III's, whose optimizer is LAMB"
    )
    rows = tuple(_renamed(row, entry.recipe.weights, weights) for row in entry.rows)
    return dataclasses.replace(
        entry,
        purpose=f"{entry.purpose}; LAMB at DeiT-III's rate",
        recipe=recipe,
        rows=rows,
        notes=(*entry.notes, note),
        inferred=(*entry.inferred, *(("lr",) if inferred else ())),
    )


def _renamed(row: Printed, old: str, new: str) -> Printed:
    """The supervised row of a later stage starts from the supervised result of the preset's first stage."""
    old, new = (weights.replace("-cosub-", "-supervised-") for weights in (old, new))
    return dataclasses.replace(row, options=row.options.replace(old, new)) if old else row
