"""Train by one call: what `cosub train` does, from Python's arguments."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cosub.api.configuring import configure
from cosub.api.keywords import words_of
from cosub.api.run import Run
from cosub.recipes import DEFAULT
from cosub.recipes.files import folder_of
from cosub.recipes.recipe import Recipe

if TYPE_CHECKING:
    from cosub.runs.callbacks import Callback


def fit(recipe: str | os.PathLike[str] = DEFAULT, *, callbacks: Sequence["Callback"] = (), **options: Any) -> Run:
    """Train a recipe, or continue it: the same call on the same folder goes on where it stopped.

    Args:
        recipe: its name, e.g. "finetune", or the recipe.json of an earlier run.
        callbacks: called with each step that is logged and each evaluation.
        options: the flags of `cosub train`: `_` stands for `-` and `.`, so `--drop-rate` is `drop_rate` and
            `--optimizer.lr-rule` is `optimizer_lr_rule`; `data` is `--data.path`, and a flag without a value is True.

    Returns:
        The finished run, in the folder `out`, by default out/RECIPE-METHOD-SEED.

    Raises:
        InputError: a ValueError, for a wrong argument, in the words of the command line; nothing was written.
        RunError: if the run cannot go on; its last checkpoint, if there is one yet, is intact.
        Stopped: by a signal, such as Jupyter's stop button; the same call continues.
    """
    from cosub.runs.callbacks import checked

    found = checked(callbacks)
    return train(configure([os.fspath(recipe), *words_of(options)]), found)


def train(recipe: Recipe, callbacks: Sequence["Callback"] = ()) -> Run:
    """Train a recipe, or continue it; `cosub train` and `fit` both end here.

    Raises:
        CosubError: as `fit`.
    """
    from cosub.runs import distributed
    from cosub.train.launch import train

    with distributed.leaving():
        train(recipe, callbacks)
        return Run(folder_of(recipe))
