"""What can be evaluated: a run, a file of published weights, a name of timm's weights."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from timm import list_pretrained
from timm.models import get_pretrained_cfg, is_model_pretrained
from torch import nn

from cosub.data.imagenet import describe, synsets
from cosub.errors import InputError
from cosub.network import build_network, build_plain
from cosub.recipes.config import Inputs, Recipe
from cosub.recipes.files import nearest
from cosub.run import load_run
from cosub.weights import load_weights


@dataclass(frozen=True)
class Candidate:
    """A network in eval mode on the CPU, its classes, and the recipe that says how it sees images.

    `said` has a line for each thing that was adapted to load it.
    """

    network: nn.Module
    classes: tuple[str, ...]
    recipe: Recipe
    said: list[str]


def open_network(source: str, model: str = "", resolution: int = 0, crop_ratio: float = 0.0) -> Candidate:
    """The network that a person names.

    Args:
        source: a run's folder; a file of weights, or hf-hub:OWNER/NAME, of the timm model `model`; or a name of
            timm's weights, as such or as timm:NAME.
        model: for files. They are taken to be of ImageNet-1k's classes, normalised as ImageNet, unless they say their
            classes.
        resolution: of the images, in pixels; by default what the network was made for.
        crop_ratio: by default the run's, and 1 for others (the paper's, and DeiT-III's).

    Raises:
        InputError: if there is no such network, its weights do not fit, or it has no head for ImageNet-1k.
    """
    if Path(source).is_dir():
        if model:
            raise InputError(f"model: {model}: the run's recipe names its model; leave --model out")
        return _of_run(source, resolution, crop_ratio)
    name = source.removeprefix("timm:")
    if is_model_pretrained(name) and not Path(source).exists():
        if model:
            raise InputError(f"model: {model}: {source} names a model itself; leave --model out")
        return _of_timm(source, name, resolution, crop_ratio)
    if Path(source).is_file() or source.startswith("hf-hub:"):
        if not model:
            raise InputError(f"model: is not given; name the timm model that {source} holds weights of with --model")
        return _of_file(source, model, resolution, crop_ratio)
    raise InputError(
        f"run: {source}: holds no run, and is no file and no name of timm's weights"
        f"{nearest(name, list_pretrained()) if '/' not in name else ''}"
    )


def _of_run(source: str, resolution: int, crop_ratio: float) -> Candidate:
    trained = load_run(source)
    inputs = dataclasses.replace(trained.recipe.inputs, crop_ratio=crop_ratio or trained.recipe.inputs.crop_ratio)
    recipe = dataclasses.replace(trained.recipe, inputs=inputs)
    if resolution in (0, recipe.resolution):
        return Candidate(trained.network, trained.classes, recipe, [])
    recipe = dataclasses.replace(recipe, resolution=resolution)
    network = build_network(recipe, len(trained.classes), copies=1)
    return Candidate(network.eval(), trained.classes, recipe, load_weights(network, source, with_head=True))


def _of_timm(source: str, name: str, resolution: int, crop_ratio: float) -> Candidate:
    found = get_pretrained_cfg(name)
    assert found is not None
    if found.num_classes != len(synsets()):
        raise InputError(
            f"run: {source}: has {describe(found.num_classes)}, and is evaluated on ImageNet-1k; "
            "name a network that was fine-tuned on it"
        )
    bilinear = found.interpolation == "bilinear"
    inputs = Inputs(crop_ratio or 1.0, "bilinear" if bilinear else "bicubic", _rgb(found.mean), _rgb(found.std))
    recipe = _recipe(name.split(".")[0], resolution or found.input_size[-1], inputs)
    return _loaded(recipe, synsets(), source)


def _of_file(source: str, model: str, resolution: int, crop_ratio: float) -> Candidate:
    default = get_pretrained_cfg(model)
    size = resolution or (default.input_size[-1] if default else 224)
    return _loaded(_recipe(model, size, Inputs(crop_ratio or 1.0)), _classes_in(source), source)


def _loaded(recipe: Recipe, classes: tuple[str, ...], source: str) -> Candidate:
    network = build_plain(recipe, len(classes))
    said = load_weights(network, source, with_head=True)
    return Candidate(network.eval(), classes, recipe, said)


def _recipe(model: str, resolution: int, inputs: Inputs) -> Recipe:
    return Recipe("evaluation", model, resolution=resolution, inputs=inputs)


def _rgb(values: tuple[float, ...]) -> tuple[float, float, float]:
    red, green, blue = values
    return red, green, blue


def _classes_in(source: str) -> tuple[str, ...]:
    """What the file of a run says; ImageNet-1k's for others."""
    if not source.endswith(".safetensors"):
        return synsets()
    try:
        with safe_open(source, "pt") as file:
            return tuple(json.loads((file.metadata() or {})["classes"]))
    except KeyError:
        return synsets()
    except (SafetensorError, OSError, ValueError, TypeError, RecursionError) as error:
        raise InputError(f"run: {source}: cannot be read ({error})") from error
