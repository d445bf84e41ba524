"""From a recipe to a network: timm's model with the paper's settings, attached."""

from typing import Any

import torch
from torch import nn

from cosub.attachment import attach
from cosub.errors import InputError
from cosub.recipes.config import Recipe
from cosub.recipes.files import nearest
from cosub.seeds import derive


def build_network(recipe: Recipe, num_classes: int, copies: int) -> nn.Module:
    """The recipe's network, initialised from its seed and attached.

    DeiT-III models start their LayerScale at 1e-4 as their authors do (timm: 1e-6).

    Raises:
        InputError: for a model that timm does not know or whose blocks have no twin, arguments that it does not
            take, a resolution that the patch size does not divide.
    """
    model = _create(recipe, num_classes)
    patch = getattr(getattr(model, "patch_embed", None), "patch_size", (1, 1))
    if any(recipe.resolution % size for size in patch):
        near = max(recipe.resolution // patch[0], 1) * patch[0]
        raise InputError(
            f"resolution: {recipe.resolution}: is not a multiple of the patch size {patch[0]} of {recipe.model}, "
            f"e.g. {near}, or set patch_size in model_args"
        )
    try:
        return attach(
            model,
            drop_rate=recipe.drop_rate,
            copies=copies,
            seed=recipe.seed,
            schedule=recipe.schedule,
            rounding=recipe.rounding,
        )
    except ValueError as error:
        raise InputError(f"model: {recipe.model}: {error}") from error


def _create(recipe: Recipe, num_classes: int) -> nn.Module:
    import timm

    # Only names of timm's own registry: others would fetch code or configuration from elsewhere.
    if any(mark in recipe.model for mark in ":/\\") or not timm.is_model(recipe.model):
        known = timm.list_models()
        raise InputError(f"model: {recipe.model!r}: timm does not know it{nearest(recipe.model, known)}")
    settings: dict[str, Any] = {"init_values": 1e-4} if recipe.model.startswith("deit3") else {}
    settings |= recipe.model_args
    torch.manual_seed(derive("init", recipe.seed))
    try:
        return _at_resolution(recipe, num_classes, settings)
    except (TypeError, ValueError, AssertionError, RuntimeError, ZeroDivisionError) as error:
        given = ", ".join(f"{key} {value}" for key, value in recipe.model_args.items()) or "none"
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"model: {recipe.model}: cannot be built at resolution {recipe.resolution} "
            f"with model_args {given} ({reason})"
        ) from error


def _at_resolution(recipe: Recipe, num_classes: int, settings: dict[str, Any]) -> nn.Module:
    """Convolutional networks have no argument for the size of images: they take any."""
    import timm

    try:
        return timm.create_model(recipe.model, num_classes=num_classes, img_size=recipe.resolution, **settings)
    except TypeError as error:
        if "'img_size'" not in str(error):
            raise
        return timm.create_model(recipe.model, num_classes=num_classes, **settings)
