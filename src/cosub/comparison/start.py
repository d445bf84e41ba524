"""The recipe from which all arms of a comparison start."""

from dataclasses import replace
from typing import Any

from cosub.comparison.request import Request
from cosub.data.sources import Source, open_source
from cosub.recipes import FINETUNE, get
from cosub.recipes.changes import changed
from cosub.recipes.data import Folder
from cosub.recipes.recipe import Recipe
from cosub.runs.network import build_network
from cosub.train.finetuning import infer
from cosub.weights.opening import require_weights

_SHARE = 0.1  # of the training images, held out where the folder has no validation images
_FEW = 50  # validation images
_BATCHES = 4  # of an epoch, at least


def start(request: Request) -> tuple[Recipe, Source, list[str]]:
    """The recipe, its data, and a line for each thing that was inferred.

    With weights, it is finetune with what follows from them; else scratch. The last step's network counts, since an arm
    that takes more epochs would have more of them to choose from. A batch is small enough for four in an epoch.

    Raises:
        InputError: for a folder, weights or a model that cannot be read or do not fit.
    """
    recipe, lines = _recipe(request)
    source = open_source(recipe.data)
    images = len(source.train.labels)
    if source.validation is None:
        held_out = max(len(source.classes), round(images * _SHARE))
        recipe = changed(recipe, {"data.validation_images": held_out})
        source = open_source(recipe.data)
        lines.append(f"validation: {held_out} of the {images} training images are held out, always the same")
        images = len(source.train.labels)
    if (number := len(source.validation_or_test.labels)) < _FEW:
        lines.append(
            f"validation: {number} images choose the rates, and each is {1 / number:.0%} of them: few say little"
        )
    batch = min(recipe.batch_size, max(images // _BATCHES, 1))
    recipe = changed(recipe, {"batch_size": batch, "group_size": batch})
    build_network(recipe, len(source.classes), copies=1)  # what cannot be built is refused before anything is measured
    return recipe, source, lines


def _recipe(request: Request) -> tuple[Recipe, list[str]]:
    data = Folder(path=request.folder, orientation=True)
    given = {"resolution": request.resolution} if request.resolution else {}
    fixed = {**given, "choose": "last", "runtime.workers": request.workers, "runtime.compile": "off"}
    if request.weights:
        require_weights(request.weights)
        named = {"model": request.model} if request.model else {}
        inferred = infer(replace(get(FINETUNE), weights=request.weights, data=data, **named), request.model or None)
        recipe = changed(inferred.recipe, fixed)
        return recipe, inferred.lines(recipe)
    own: dict[str, Any] = {"model": request.model, "model_args": {}} if request.model else {}
    recipe = changed(replace(get("scratch"), data=data, **own), fixed)
    return recipe, [f"start: from scratch, recipe scratch: {recipe.model} at {recipe.resolution} pixels"]
