"""What fine-tuning takes from the weights it starts from, and from the size of their network."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import timm
import torch
from timm.models import get_pretrained_cfg

from cosub.errors import InputError, nearest
from cosub.recipes.data import Photographs
from cosub.recipes.files import is_run, read
from cosub.recipes.finetune import like
from cosub.recipes.recipe import Recipe
from cosub.runs.network import create, settings_of
from cosub.runs.published import Published, look_up, told

_MINIMUM = 0.05  # of the drop rate: below it, there is little to co-train


def pretrained_name(model: str) -> str:
    """timm's name of a model's published weights: the given tag, or the first one that timm has for it.

    Raises:
        InputError: if there are none.
    """
    known = timm.list_pretrained()
    if not timm.is_model(model):
        raise InputError(f"model: {model!r}: timm does not know it{nearest(model, timm.list_models())}")
    found = get_pretrained_cfg(model)
    name = f"{model.split('.')[0]}.{found.tag}" if found is not None and found.tag else model
    if name not in known:
        raise InputError(
            f"--pretrained: timm has no published weights of {model}{nearest(model, known)}; name a file of "
            "weights or a run's folder with --weights"
        )
    return name


def as_begun(recipe: Recipe, folder: Path, fields: Sequence[str]) -> tuple[Recipe, list[str]]:
    """The recipe with those fields as a run in that folder has them, and a line if that changes them.

    A run goes on as it began, though its weights may be gone by now or say other things of themselves.
    """
    there = read(folder / "recipe.json") if is_run(folder) else recipe
    begun = dataclasses.replace(recipe, **{name: getattr(there, name) for name in fields})
    if begun == recipe or (there.weights, there.model) != (recipe.weights, recipe.model):
        return recipe, []
    return begun, [f"inferred: {', '.join(fields)} as in {folder}, which has begun: {told(begun.inputs)}"]


def turned_as_begun(recipe: Recipe, folder: Path) -> Recipe:
    """The recipe, turning images where a run in that folder does: those from before there was the value do not."""
    there = read(folder / "recipe.json").data if is_run(folder) else recipe.data
    if not (isinstance(there, Photographs) and isinstance(recipe.data, Photographs)):
        return recipe
    return dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, orientation=there.orientation))


def follow(recipe: Recipe) -> tuple[Recipe, list[str]]:
    """A recipe that prepares images as its weights want them, and a line that says what was taken from where.

    Raises:
        InputError: if what the weights say of themselves cannot be read.
    """
    found = look_up(recipe.weights, recipe.model)
    return dataclasses.replace(recipe, inputs=found.inputs), _lines(found)


def _lines(found: Published) -> list[str]:
    return [*found.messages, f"inferred: {told(found.inputs)}, from {found.origin}"]


def infer(recipe: Recipe) -> tuple[Recipe, list[str]]:
    """A recipe with all that follows from its weights and model, and a line for each thing that was inferred.

    From the weights: resolution, normalisation and crop, and the model where they name it. From the number of
    parameters: drop rate (at least 0.05) and layer decay of the nearest size of table A.1.

    Raises:
        InputError: if no weights are named, or timm does not know the model.
    """
    if not recipe.weights:
        raise InputError(
            "weights: fine-tuning starts from weights: --pretrained for those that timm publishes for the model, or "
            "--weights with a file, a folder, or a name of timm's weights"
        )
    found = look_up(recipe.weights, recipe.model)
    model = found.model or recipe.model
    arguments = found.model_args or (recipe.model_args if model == recipe.model else {})
    lines = [*_lines(found), f"inferred: model {model} at resolution {found.resolution}, from {found.origin}"]
    recipe = dataclasses.replace(
        recipe, model=model, model_args=arguments, resolution=found.resolution, inputs=found.inputs
    )
    parameters = _parameters(recipe)
    size = like(parameters)
    rate = max(size.imagenet, _MINIMUM)
    optimizer = dataclasses.replace(recipe.optimizer, layer_decay=size.layer_decay)
    lines.append(
        f"inferred: drop_rate {rate:g} and optimizer.layer_decay {size.layer_decay:g}, as of {size.title} (table A.1), "
        f"the nearest to {parameters / 1e6:.1f} M parameters"
    )
    return dataclasses.replace(recipe, drop_rate=rate, optimizer=optimizer), lines


def _parameters(recipe: Recipe) -> int:
    try:
        with torch.device("meta"):
            model = create(recipe.model, recipe.resolution, 1000, settings_of(recipe))
    except RuntimeError as error:
        raise InputError(f"model: {recipe.model!r}: timm does not know it ({error})") from error
    return sum(parameter.numel() for parameter in model.parameters())
