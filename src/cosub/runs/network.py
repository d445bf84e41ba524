"""From a recipe to a network: timm's model with the paper's settings, attached."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import timm
import torch
from torch import nn

import cosub.architectures  # noqa: F401  (registers them with timm)
from cosub.attachment import attach, state
from cosub.errors import InputError, nearest
from cosub.recipes import plugins
from cosub.recipes.recipe import Recipe
from cosub.seeds import derive
from cosub.twins.removal import remove_layers
from cosub.weights.heads import zero_heads

# Arguments that the recipe sets, or that would read files or networks from elsewhere.
_OURS = {"img_size", "in_chans", "num_classes", "features_only", "pretrained", "pretrained_cfg", "checkpoint_path"}
_OURS |= {"drop_path_rate", "pretrained_cfg_overlay", "cache_dir", "scriptable", "exportable"}

# What timm and torch raise for arguments that do not fit together.
ANY_WRONG = (TypeError, ValueError, AssertionError, RuntimeError, ZeroDivisionError, KeyError, AttributeError)


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """In eval mode inside the `with` block, however it ends, and in its own mode afterwards."""
    training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(training)


def build_network(recipe: Recipe, num_classes: int, copies: int) -> nn.Module:
    """The recipe's network, initialised from its seed and attached.

    LayerScale of DeiT-III models is initialised at 1e-4 as by their authors (timm: 1e-6). With `kept_layers` the
    network is slimmed: it has only those residual layers, under their names in the full one, and each branch is
    multiplied by `kept_scale`.

    Raises:
        InputError: for a model that timm does not know or whose blocks have no twin, arguments that it does not
            take, or a resolution that is not a multiple of the patch size.
    """
    if place := plugins.NETWORKS.get(recipe.task.kind):
        return plugins.find(place)(recipe, num_classes, copies)
    model = create_model(recipe, num_classes)
    check_resolution(model, recipe.model, recipe.resolution)
    attach_as(model, recipe, copies)
    _try(model, recipe, num_classes)
    return model


def attach_as(model: nn.Module, recipe: Recipe, copies: int) -> None:
    """Attach a model as the recipe says. Raises InputError if its blocks have no twin."""
    try:
        if recipe.kept_layers:
            remove_layers(model, recipe.kept_layers)
        attach(
            model,
            drop_rate=recipe.drop_rate,
            copies=copies,
            seed=recipe.seed,
            schedule=recipe.schedule,
            rounding=recipe.rounding,
        )
    except ValueError as error:
        raise InputError(f"model: {recipe.model}: {error}") from error
    state(model).scale = recipe.kept_scale


def build_plain(recipe: Recipe, num_classes: int) -> nn.Module:
    """The recipe's model, not attached; any model of timm.

    Raises:
        InputError: for a model that timm does not know, or that cannot be built at the recipe's resolution.
    """
    model = create_model(recipe, num_classes)
    check_resolution(model, recipe.model, recipe.resolution)
    _try(model, recipe, num_classes)
    return model


def check_resolution(model: nn.Module, name: str, resolution: int) -> None:
    """Raise InputError if the resolution is not a multiple of the model's patch size."""
    patch = getattr(getattr(model, "patch_embed", None), "patch_size", 1)
    sizes = patch if isinstance(patch, tuple) else (patch,)  # XCiT has a number
    if any(resolution % size for size in sizes):
        near = max(resolution // sizes[0], 1) * sizes[0]
        raise InputError(
            f"resolution: {resolution}: is not a multiple of the patch size {sizes[0]} of {name}, "
            f"e.g. {near}, or set patch_size in model_args"
        )


def create_model(recipe: Recipe, num_classes: int, **optional: Any) -> nn.Module:
    """The recipe's model, initialised from its seed, not attached. It need not take the `optional` arguments.

    Raises:
        InputError: for a model that timm does not know, or arguments that it does not take.
    """
    # Only names of timm's own registry: others would fetch code or configuration from elsewhere.
    if any(mark in recipe.model for mark in ":/\\") or not timm.is_model(recipe.model):
        known = timm.list_models()
        raise InputError(f"model: {recipe.model!r}: timm does not know it{nearest(recipe.model, known)}")
    if fixed := sorted(set(recipe.model_args) & _OURS):
        raise InputError(f"model_args: {fixed[0]}: cannot be overridden: set by resolution, drop_rate and data")
    try:
        with torch.random.fork_rng(devices=[]):  # the caller's random state is kept
            torch.default_generator.manual_seed(derive("init", recipe.seed))
            model = create(recipe.model, recipe.resolution, num_classes, settings_of(recipe), **optional)
    except ANY_WRONG as error:
        raise _unbuildable(recipe, " ".join(str(error).split()) or type(error).__name__) from error
    if recipe.head != "model":
        zero_heads(model)
    return model


def settings_of(recipe: Recipe) -> dict[str, Any]:
    """The arguments of timm's model: the paper's where timm's defaults differ, then the recipe's own."""
    paper = {"init_values": 1e-4} if recipe.model.startswith("deit3") else {}
    return {**paper, **recipe.model_args}


def _try(model: nn.Module, recipe: Recipe, num_classes: int) -> None:
    """Run the network on one image, because some invalid arguments fail only then."""
    training = model.training
    try:
        with torch.no_grad():
            shape = tuple(model.eval()(torch.zeros(1, 3, recipe.resolution, recipe.resolution)).shape)
    except ANY_WRONG as error:
        raise _unbuildable(recipe, " ".join(str(error).split())) from error
    if shape != (1, num_classes):
        raise _unbuildable(recipe, f"an image gives {shape} and not {(1, num_classes)}")
    model.train(training)


def _unbuildable(recipe: Recipe, reason: str) -> InputError:
    given = ", ".join(f"{key} {value}" for key, value in recipe.model_args.items()) or "none"
    return InputError(
        f"model: {recipe.model}: cannot be built at resolution {recipe.resolution} with model_args {given} ({reason})"
    )


def create(model: str, resolution: int, num_classes: int, settings: dict[str, Any], **optional: Any) -> nn.Module:
    """timm's model for images of that size, with its own drop path at 0: some have another default.

    Models that take images of any size have no argument for it, and a few have none for drop path. A model need not
    take the other `optional` arguments either.
    """
    optional = {"img_size": resolution, "drop_path_rate": 0.0, **optional}
    while True:
        try:
            return timm.create_model(model, num_classes=num_classes, **optional, **settings)
        except TypeError as error:
            unknown = [name for name in optional if f"'{name}'" in str(error)]
            if not unknown:
                raise
            del optional[unknown[0]]
