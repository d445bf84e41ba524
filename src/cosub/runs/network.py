"""From a recipe to a network: timm's model with the paper's settings, attached."""

from typing import Any

import torch
from torch import nn

import cosub.architectures  # noqa: F401  (timm then knows their names)
from cosub.attachment import attach, state
from cosub.errors import InputError, nearest
from cosub.recipes import plugins
from cosub.recipes.recipe import Recipe
from cosub.seeds import derive
from cosub.twins.removal import remove_layers
from cosub.weights.heads import zero_heads

# Arguments that follow from the recipe, or would read files and networks from elsewhere.
_OURS = {"img_size", "in_chans", "num_classes", "features_only", "pretrained", "pretrained_cfg", "checkpoint_path"}
_OURS |= {"drop_path_rate", "pretrained_cfg_overlay", "cache_dir", "scriptable", "exportable"}

# What timm and torch raise for arguments that do not fit together.
ANY_WRONG = (TypeError, ValueError, AssertionError, RuntimeError, ZeroDivisionError, KeyError, AttributeError)


def build_network(recipe: Recipe, num_classes: int, copies: int) -> nn.Module:
    """The recipe's network, initialised from its seed and attached.

    DeiT-III models start their LayerScale at 1e-4 as their authors do (timm: 1e-6). A recipe with `kept_layers` gives
    a slimmed network: those residual layers alone, under the names that they have in the full one, each branch times
    `kept_scale`.

    Raises:
        InputError: for a model that timm does not know or whose blocks have no twin, arguments that it does not
            take, a resolution that the patch size does not divide.
    """
    if place := plugins.NETWORKS.get(recipe.task.kind):
        return plugins.find(place)(recipe, num_classes, copies)
    model = create_model(recipe, num_classes)
    check_resolution(model, recipe.model, recipe.resolution)
    attach_as(model, recipe, copies)
    _try(model, recipe, num_classes)
    return model


def attach_as(model: nn.Module, recipe: Recipe, copies: int) -> None:
    """Attach as the recipe says. Raises InputError for a model whose blocks have no twin."""
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
    """timm's model of the recipe, not attached: any that timm knows.

    Raises:
        InputError: for a model that timm does not know, or that cannot be built at the recipe's resolution.
    """
    model = create_model(recipe, num_classes)
    check_resolution(model, recipe.model, recipe.resolution)
    _try(model, recipe, num_classes)
    return model


def check_resolution(model: nn.Module, name: str, resolution: int) -> None:
    """Raises InputError if the model's patches do not tile an image."""
    patch = getattr(getattr(model, "patch_embed", None), "patch_size", 1)
    sizes = patch if isinstance(patch, tuple) else (patch,)  # XCiT has a number
    if any(resolution % size for size in sizes):
        near = max(resolution // sizes[0], 1) * sizes[0]
        raise InputError(
            f"resolution: {resolution}: is not a multiple of the patch size {sizes[0]} of {name}, "
            f"e.g. {near}, or set patch_size in model_args"
        )


def create_model(recipe: Recipe, num_classes: int, **optional: Any) -> nn.Module:
    """The recipe's model of timm's, initialised from its seed, not attached. `optional` arguments it need not take.

    Raises:
        InputError: for a model that timm does not know, or arguments that it does not take.
    """
    import timm

    # Only names of timm's own registry: others would fetch code or configuration from elsewhere.
    if any(mark in recipe.model for mark in ":/\\") or not timm.is_model(recipe.model):
        known = timm.list_models()
        raise InputError(f"model: {recipe.model!r}: timm does not know it{nearest(recipe.model, known)}")
    if fixed := sorted(set(recipe.model_args) & _OURS):
        raise InputError(f"model_args: {fixed[0]}: cannot be overridden: set by resolution, drop_rate and data")
    try:
        with torch.random.fork_rng(devices=[]):  # whoever loads a network keeps their own random state
            torch.default_generator.manual_seed(derive("init", recipe.seed))
            model = create(recipe.model, recipe.resolution, num_classes, settings_of(recipe), **optional)
    except ANY_WRONG as error:
        raise _unbuildable(recipe, " ".join(str(error).split()) or type(error).__name__) from error
    if recipe.head != "model":
        zero_heads(model)
    return model


def settings_of(recipe: Recipe) -> dict[str, Any]:
    """The arguments of timm's model: the paper's where they are not timm's, then the recipe's own."""
    paper = {"init_values": 1e-4} if recipe.model.startswith("deit3") else {}
    return {**paper, **recipe.model_args}


def _try(model: nn.Module, recipe: Recipe, num_classes: int) -> None:
    """One image through the network: some arguments that do not fit show only then."""
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
    """timm's model for images of that size, its own drop path off: some ship with a rate.

    Convolutional networks have no argument for the size, because they take any; a few have none for drop path. Nor
    need a model take the other `optional` arguments.
    """
    import timm

    optional = {"img_size": resolution, "drop_path_rate": 0.0, **optional}
    while True:
        try:
            return timm.create_model(model, num_classes=num_classes, **optional, **settings)
        except TypeError as error:
            unknown = [name for name in optional if f"'{name}'" in str(error)]
            if not unknown:
                raise
            del optional[unknown[0]]
