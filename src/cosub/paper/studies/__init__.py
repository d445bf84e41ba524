"""The paper's tables and figures at small scale: which there are, and what they start from at which scale."""

from typing import Literal

from cosub.errors import InputError, nearest
from cosub.paper.recipes.catalogue import PAPER
from cosub.paper.studies.grid import Study
from cosub.paper.studies.tables import STUDIES
from cosub.recipes import get

Scale = Literal["minutes", "hour", "paper"]

# Digits need no path and are quick; what asks for photographs says so here.
_PHOTOGRAPHS = {"headline", "table8", "table10", "transfer"}
_TO_DIGITS = {"table10", "transfer"}


def study(name: str, scale: Scale = "minutes", recipe: str = "") -> Study:
    """A study by name, on the recipe of a scale (minutes: one core; hour: one GPU) or on a named one.

    Raises:
        InputError: if there is no such study, or it cannot start from the recipe.
    """
    _known(name)
    base = get(recipe or ("cifar10-hour" if scale == "hour" else _minutes(name)))
    if not recipe and scale == "paper":
        raise InputError(f"scale: paper: {name} is no table of the recipes; name one with --recipe")
    if not base.task.PER_IMAGE:
        raise InputError(f"recipe: {base.name}: is for segmentation, and studies are of classification; name another")
    if name in _TO_DIGITS and base.data.EMBEDDED:
        raise InputError(f"recipe: {base.name}: has digits, and {name} goes from photographs to digits; name another")
    return STUDIES[name](base)


def printed(name: str) -> list[dict[str, str]]:
    """The real recipes of a table, with the command of each row and what the paper prints; none for other studies."""
    _known(name)
    return [
        {"recipe": entry.name, "row": row.row, "command": entry.command(row.options), "paper": row.result}
        for entry in PAPER.values()
        for row in entry.rows
        if f"table{row.table}" == name
    ]


def _minutes(name: str) -> str:
    return "cifar10-few" if name in _PHOTOGRAPHS else "digits-few"


def _known(name: str) -> None:
    if name not in STUDIES:
        close = nearest(name, list(STUDIES))
        raise InputError(f"study: {name!r}: there is none of that name{close}; cosub study lists them")
