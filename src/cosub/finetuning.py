"""What fine-tuning takes from the weights it starts from, and from the size of their network."""

import dataclasses
import json
from pathlib import Path
from typing import Any, get_args

import timm
import torch
from timm.models import get_pretrained_cfg

from cosub.choices import Interpolation
from cosub.errors import InputError
from cosub.network import create, settings_of
from cosub.recipes.config import Inputs, Recipe
from cosub.recipes.files import nearest, read
from cosub.recipes.finetune import like

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


def infer(recipe: Recipe) -> tuple[Recipe, list[str]]:
    """A recipe with all that follows from its weights and model, and a line for each thing that was inferred.

    From the weights: resolution, normalisation and crop, and the model where they are a run's. From the number of
    parameters: drop rate (at least 0.05) and layer decay of the nearest size of table A.1.

    Raises:
        InputError: if no weights are named, or timm does not know the model.
    """
    if not recipe.weights:
        raise InputError(
            "weights: fine-tuning starts from weights: --pretrained for those that timm publishes for the model, or "
            "--weights with a file, a run's folder, or a name of timm's weights"
        )
    folder = Path(recipe.weights)
    recipe, lines = _of_run(recipe, folder) if (folder / "recipe.json").is_file() else _of_timm(recipe)
    parameters = _parameters(recipe)
    size = like(parameters)
    rate = max(size.imagenet, _MINIMUM)
    optimizer = dataclasses.replace(recipe.optimizer, layer_decay=size.layer_decay)
    lines.append(
        f"inferred: drop_rate {rate:g} and optimizer.layer_decay {size.layer_decay:g}, as of {size.title} (table A.1), "
        f"the nearest to {parameters / 1e6:.1f} M parameters"
    )
    return dataclasses.replace(recipe, drop_rate=rate, optimizer=optimizer), lines


def _of_run(recipe: Recipe, folder: Path) -> tuple[Recipe, list[str]]:
    run = read(folder / "recipe.json")
    recipe = dataclasses.replace(
        recipe, model=run.model, model_args=run.model_args, resolution=run.resolution, inputs=run.inputs
    )
    return recipe, [f"inferred: model {run.model}, {_told(recipe)}, from {folder}"]


def _of_timm(recipe: Recipe) -> tuple[Recipe, list[str]]:
    source = recipe.weights.removeprefix("timm:")
    name = source if source in timm.list_pretrained() else recipe.model
    found: Any = _config_beside(Path(recipe.weights)) or get_pretrained_cfg(name)
    if found is None:
        return recipe, [f"inferred: {_told(recipe)}, because timm says nothing of {recipe.model}"]
    known = get_args(Interpolation)
    inputs = Inputs(
        crop_ratio=float(found.crop_pct or 1.0),
        interpolation=found.interpolation if found.interpolation in known else "bicubic",
        mean=_channels(found.mean),
        std=_channels(found.std),
    )
    model = name.split(".")[0] if source == name else recipe.model
    arguments = recipe.model_args if model == recipe.model else {}
    recipe = dataclasses.replace(
        recipe, model=model, model_args=arguments, resolution=found.input_size[-1], inputs=inputs
    )
    return recipe, [f"inferred: {_told(recipe)}, from {name}"]


def _channels(values: Any) -> tuple[float, float, float]:
    red, green, blue = map(float, values)
    return red, green, blue


def _config_beside(folder: Path) -> Any:
    """What a folder in the Hub's layout says of its weights, as timm writes it."""
    path = folder / "config.json"
    if not path.is_file():
        return None
    from timm.models import PretrainedCfg

    try:
        found = json.loads(path.read_text())["pretrained_cfg"]
        known = {item.name for item in dataclasses.fields(PretrainedCfg)}
        return PretrainedCfg(**{key: value for key, value in found.items() if key in known})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"weights: {path}: is not timm's description of a model ({error})") from error


def _told(recipe: Recipe) -> str:
    inputs = recipe.inputs
    mean, std = (" ".join(f"{value:g}" for value in values) for values in (inputs.mean, inputs.std))
    return (
        f"resolution {recipe.resolution}, crop_ratio {inputs.crop_ratio:g} ({inputs.interpolation}), "
        f"mean {mean}, std {std}"
    )


def _parameters(recipe: Recipe) -> int:
    try:
        with torch.device("meta"):
            model = create(recipe.model, recipe.resolution, 1000, settings_of(recipe))
    except RuntimeError as error:
        raise InputError(f"model: {recipe.model!r}: timm does not know it ({error})") from error
    return sum(parameter.numel() for parameter in model.parameters())
