"""Recipes by name. Each is a function whose docstring says its table, expected number, cost and command."""

from collections.abc import Callable

from cosub.errors import InputError
from cosub.paper.recipes import convnets, few, imagenet, imagenet21k, selfsupervised, transfer
from cosub.paper.recipes.paper import Entry, function
from cosub.recipes import finetune, small
from cosub.recipes.config import Recipe
from cosub.recipes.files import nearest
from cosub.segmentation import recipes as segmentation

RECIPES: dict[str, Callable[[], Recipe]] = {
    "finetune": finetune.finetune,
    "digits": small.digits,
    "cifar10": small.cifar10,
    "cifar10-gpu": small.cifar10_gpu,
    "digits-few": few.digits_few,
    "digits32-few": few.digits32_few,
    "cifar10-few": few.cifar10_few,
    "cifar10-hour": few.cifar10_hour,
    "camvid": segmentation.camvid,
    "ade20k-vit-s": segmentation.ade20k_vit_s,
    "ade20k-vit-b": segmentation.ade20k_vit_b,
    "ade20k-vit-l": segmentation.ade20k_vit_l,
    "ade20k-vit-b-21k": segmentation.ade20k_vit_b_21k,
    "ade20k-vit-l-21k": segmentation.ade20k_vit_l_21k,
}

# The paper's, with the rows of its tables that each leads to.
PAPER: dict[str, Entry] = {
    entry.name: entry
    for family in (imagenet, convnets, imagenet21k, selfsupervised, transfer)
    for entry in family.ENTRIES
}
RECIPES |= {name: function(entry) for name, entry in PAPER.items()}

DEFAULT = "digits"
FINETUNE = "finetune"


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
