"""What can be evaluated: a run, a file or folder of published weights, a name of timm's weights."""

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from PIL import Image
from timm import list_pretrained
from timm.models import is_model_pretrained
from torch import nn

from cosub.attachment import attach, layers_per_block
from cosub.data.imagenet import describe, synsets
from cosub.data.pixels import reading_of
from cosub.errors import InputError, nearest
from cosub.recipes.files import is_run
from cosub.recipes.recipe import Recipe
from cosub.runs import standalone
from cosub.runs.folder import load_run
from cosub.runs.network import build_network, build_plain
from cosub.runs.published import describe_inputs, look_up
from cosub.submodel import evenly
from cosub.twins.stand_ins import stand_ins
from cosub.twins.twin import Twin
from cosub.weights.hub_names import FILE
from cosub.weights.loading import load_weights

TAKEN_OUT = ("removed_layers", "scaled_blocks")  # keys of a config, see `take_out`


@dataclass(frozen=True)
class Candidate:
    """A network in eval mode on the CPU, its classes, and the recipe that says how its images are prepared.

    `messages` has a line for each adaptation of its weights, and for how images are prepared.
    """

    network: nn.Module
    classes: tuple[str, ...]
    recipe: Recipe
    messages: list[str]


def open_network(source: str, model: str = "", resolution: int = 0, **inputs: Any) -> Candidate:
    """Load the network that a user names.

    Args:
        source: a run's folder; a folder with timm's config.json, a file, or hf-hub:OWNER/NAME; or a name of timm's
            weights, with or without timm: before it.
        model: the timm model, where the source does not name it.
        resolution: of the images, in pixels; by default the network's own.
        inputs: fields of `Inputs` that override what `published.look_up` finds.

    Raises:
        InputError: if there is no such network, its weights do not fit, or it has no head for ImageNet-1k.
    """
    if is_run(source):
        if model:
            raise InputError(f"model: {model}: the run's recipe names its model; leave --model out")
        return _of_run(source, resolution, inputs)
    exists = os.path.exists(source)  # False for a name that is too long for a file
    if exists and _holds_nothing(source):
        raise InputError(f"run: {source}: holds neither a run nor weights; RUN comes first, then what it is applied to")
    named = is_model_pretrained(source.removeprefix("timm:")) and not exists
    if not (named or exists or source.startswith("hf-hub:")):
        raise InputError(
            f"run: {source}: is neither a run, a file, a folder, nor a name of timm's weights"
            f"{nearest(source, list_pretrained()) if '/' not in source else ''}"
        )
    found = look_up(source, model)
    recipe = Recipe(
        "evaluation",
        _model(source, model, found.model),
        found.model_args,
        resolution=resolution or found.resolution,
        data=reading_of(found.config, found.origin),
        inputs=dataclasses.replace(found.inputs, **inputs),
    )
    if named and found.num_classes != len(synsets()):
        raise InputError(
            f"run: {source}: has {describe(found.num_classes)}, and evaluation is on ImageNet-1k; "
            "name a network that was fine-tuned on it"
        )
    origin = f"{found.origin}, except {', '.join(inputs)}, as given" if inputs else found.origin
    candidate = _loaded(recipe, found.classes or synsets(), source, found.config)
    lines = [
        *candidate.messages,
        *found.messages,
        f"images are prepared with {describe_inputs(recipe.inputs)}, from {origin}",
    ]
    return dataclasses.replace(candidate, messages=lines)


def _holds_nothing(source: str) -> bool:
    """Whether it is a folder without weights, or a file of images."""
    if os.path.isdir(source):
        return not os.path.isfile(os.path.join(source, FILE))
    return os.path.splitext(source)[1].lower() in Image.registered_extensions()


def layers_kept(network: nn.Module, share: float | None) -> list[int] | None:
    """The residual layers of a fraction of the blocks; None for all. Attaches the network if it is not.

    Raises:
        InputError: if it cannot be attached.
    """
    if share is None:
        return None
    if not any(isinstance(module, Twin) for module in network.modules()):
        try:
            attach(network, drop_rate=0.0)
        except ValueError as error:
            raise InputError(f"keep: {share}: this network has no submodels ({error}); leave it out") from error
    return evenly(layers_per_block(network), share)


def _of_run(source: str, resolution: int, inputs: dict[str, Any]) -> Candidate:
    trained = load_run(source)
    trained.recipe.task.require_used(inputs)
    recipe = dataclasses.replace(trained.recipe, inputs=dataclasses.replace(trained.recipe.inputs, **inputs))
    if resolution in (0, recipe.resolution):
        return Candidate(trained.network, trained.classes, recipe, [])
    recipe = dataclasses.replace(recipe, resolution=resolution)
    network = build_network(recipe, len(trained.classes), copies=1)
    return Candidate(network.eval(), trained.classes, recipe, load_weights(network, source, with_head=True))


def _model(source: str, given: str, theirs: str) -> str:
    """The model that the source states, or else the given one."""
    if given and theirs and given.split(".")[0] != theirs:
        raise InputError(f"model: {given}: {source} names its model itself, {theirs}; leave --model out")
    if not (given or theirs):
        raise InputError(f"model: is not given; name the timm model of the weights in {source} with --model")
    return theirs or given


def _loaded(recipe: Recipe, classes: tuple[str, ...], source: str, config: Mapping[str, Any]) -> Candidate:
    network = build_plain(recipe, len(classes))
    take_out(network, config, source)
    messages = load_weights(network, source, with_head=True)
    return Candidate(network.eval(), classes, recipe, messages)


def take_out(network: nn.Module, config: Mapping[str, Any], source: str) -> None:
    """Remove from timm's model what `cosub export` removed, by this package's code and not by code beside the weights.

    Raises:
        InputError: if the network does not have what the config names.
    """
    try:
        removed, scaled = (config.get(name, {}) for name in TAKEN_OUT)
        standalone.replace(network, stand_ins(network, removed, scaled))
    except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
        raise InputError(f"run: {source}: its config.json removes what this model does not have ({error})") from error
