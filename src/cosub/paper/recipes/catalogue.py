"""All recipes of the paper, and those of its studies at small scale."""

from collections.abc import Callable

from cosub.paper.recipes import convnets, few, imagenet, imagenet21k, selfsupervised, transfer
from cosub.paper.recipes.paper import Entry, function
from cosub.recipes.recipe import Recipe

# Each with the rows of the paper's tables that it reproduces.
PAPER: dict[str, Entry] = {
    entry.name: entry
    for family in (imagenet, convnets, imagenet21k, selfsupervised, transfer)
    for entry in family.ENTRIES
}

RECIPES: dict[str, Callable[[], Recipe]] = {
    "digits-few": few.digits_few,
    "digits32-few": few.digits32_few,
    "cifar10-few": few.cifar10_few,
    "cifar10-500": few.cifar10_500,
    "cifar10-5000": few.cifar10_5000,
    "cifar10-45000": few.cifar10_45000,
    "cifar10-hour": few.cifar10_hour,
    **{name: function(entry) for name, entry in PAPER.items()},
}
