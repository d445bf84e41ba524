"""Recipes by name. Each is a function whose docstring states cost, accuracy (the paper's or measured) and command."""

import functools
from collections.abc import Callable, Mapping

from cosub.errors import InputError, nearest
from cosub.recipes import finetune, plugins, small
from cosub.recipes.recipe import Recipe

DEFAULT = "digits"
FINETUNE = "finetune"


@functools.cache
def recipes() -> Mapping[str, Callable[[], Recipe]]:
    """All recipes: the small ones, and those of plug-ins."""
    found: dict[str, Callable[[], Recipe]] = {
        "finetune": finetune.finetune,
        "digits": small.digits,
        "cifar10": small.cifar10,
        "cifar10-gpu": small.cifar10_gpu,
        "scratch": small.scratch,
    }
    for module in plugins.RECIPES:
        found |= plugins.find(f"{module}:RECIPES")
    return found


def get(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        InputError: if there is none; the message suggests the nearest name.
    """
    known = recipes()
    if name not in known:
        raise InputError(
            f"recipe: {name!r}: is neither a recipe{nearest(name, list(known))} nor a recipe.json file; "
            "`cosub recipes` lists them"
        )
    return known[name]()
