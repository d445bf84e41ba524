"""The comparison of most of the paper's tables: one recipe, supervised and co-trained."""

from collections.abc import Iterable, Mapping
from typing import Any

from cosub.paper.studies.grid import Cell
from cosub.recipes.changes import changed
from cosub.recipes.methods import Cosub, Supervised
from cosub.recipes.recipe import Recipe

Changes = Mapping[str, Any]
BASELINE = "supervised"


def pair(recipe: Recipe, name: str = "", x: float | None = None, changes: Changes | None = None) -> tuple[Cell, Cell]:
    """The same recipe supervised and co-trained."""
    at = changed(recipe, changes or {})
    prefix = f"{name}, " if name else ""
    return (
        Cell(f"{prefix}{BASELINE}", changed(at, {"method": Supervised()}), x=x, series=BASELINE),
        Cell(f"{prefix}cosub", changed(at, {"method": Cosub()}), f"{prefix}{BASELINE}", x=x, series="cosub"),
    )


def pairs(recipe: Recipe, rows: Iterable[tuple[str, float | None, Changes]]) -> tuple[Cell, ...]:
    return tuple(cell for name, x, changes in rows for cell in pair(recipe, name, x, changes))
