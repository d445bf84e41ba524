"""The paper's tables and figures in small: which there are, and what they start from at which scale."""

from typing import Literal, get_args

from cosub.errors import InputError
from cosub.recipes import RECIPES, get
from cosub.recipes.files import nearest
from cosub.studies.grid import Study
from cosub.studies.tables import STUDIES

Scale = Literal["minutes", "hour", "paper"]

# Digits need no path and are quick; what asks for photographs says so here.
_PHOTOGRAPHS = {"headline", "table10", "transfer"}


def study(name: str, scale: Scale = "minutes", recipe: str = "") -> Study:
    """A study by name, on the recipe of a scale or on a named one.

    minutes: one core and about a minute a run. hour: one GPU. paper: the recipe whose name begins with the study's.

    Raises:
        InputError: if there is no such study, or no recipe for that scale.
    """
    if name not in STUDIES:
        raise InputError(
            f"study: {name!r}: there is none of that name{nearest(name, list(STUDIES))}; cosub study lists them"
        )
    return STUDIES[name](get(recipe or _recipe(name, scale)))


def _recipe(name: str, scale: Scale) -> str:
    if scale not in get_args(Scale):
        raise InputError(f"scale: {scale!r}: must be one of {', '.join(get_args(Scale))}")
    if scale == "hour":
        return "cifar10-hour"
    if scale == "minutes":
        return "cifar10-few" if name in _PHOTOGRAPHS else "digits-few"
    known = [recipe for recipe in RECIPES if recipe.startswith(("deit3", "vit", "imagenet"))]
    raise InputError(
        f"scale: paper: needs the recipe of a row; name it with --recipe ({', '.join(known) or 'there is none yet'})"
    )
