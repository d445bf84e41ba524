"""The ways to train: of each its name for people and its colour, which is the same in all pictures."""

from typing import NamedTuple

from cosub.recipes.methods import Cosub, Supervised
from cosub.recipes.recipe import Recipe


class Way(NamedTuple):
    title: str
    colour: str


# The hues of Okabe and Ito, with grey and brown: eyes that lack red or green cones tell all of them apart.
WAYS = {
    "cosub": Way("co-training", "#0072B2"),
    "supervised": Way("supervised", "#000000"),
    "masking": Way("timm's masked drop path", "#707070"),
    "two-copies": Way("two copies, no co-training", "#D55E00"),
    "distill": Way("distillation", "#E69F00"),
    "mean-teacher": Way("mean teacher", "#CC79A7"),
    "cotrain": Way("two networks", "#009E73"),
    "cosub-distill": Way("co-training and distillation", "#56B4E9"),
    "plain": Way("index_select and index_add", "#7F3B08"),
}


def way_of(recipe: Recipe) -> str:
    """Its key in the table: the kind of its method, but for masking and for copies that learn from the label alone."""
    method = recipe.method
    if isinstance(method, Supervised) and recipe.rounding == "masked":
        return "masking"
    return "two-copies" if isinstance(method, Cosub) and method.weight == 1 else method.kind
