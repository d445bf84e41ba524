"""Recipes by name. Each is a function whose docstring says its table, expected number, cost and command."""

from collections.abc import Callable

from cosub.errors import InputError
from cosub.recipes import few, small
from cosub.recipes.config import Recipe
from cosub.recipes.files import nearest

RECIPES: dict[str, Callable[[], Recipe]] = {
    "digits": small.digits,
    "cifar10": small.cifar10,
    "cifar10-gpu": small.cifar10_gpu,
    "digits-few": few.digits_few,
    "cifar10-few": few.cifar10_few,
    "cifar10-hour": few.cifar10_hour,
}

DEFAULT = "digits"


def get(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        InputError: if there is none; the message has the nearest name.
    """
    if name not in RECIPES:
        raise InputError(
            f"recipe: {name!r}: is neither a recipe{nearest(name, list(RECIPES))} nor a recipe.json file; "
            "`cosub recipes` lists them"
        )
    return RECIPES[name]()
