"""What the registered models share: their description for timm, and how they are built."""

from collections.abc import Callable, Mapping
from typing import Any

from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import nn

NAMES: list[str] = []
"""Of the registered models."""
default_cfgs: dict[str, Any] = {}  # timm looks for it in the module of the functions that build models, which is this


def register(kind: type[nn.Module], sizes: Mapping[str, dict[str, Any]], **own: Any) -> None:
    """Register models of one class with timm, by name with their sizes. `own` is of their `configuration`."""
    default_cfgs.update(generate_default_cfgs(dict.fromkeys(sizes, configuration(**own))))
    for name, of_model in sizes.items():
        register_model(_builder(kind, name, of_model))
        NAMES.append(name)


def _builder(kind: type[nn.Module], name: str, sizes: dict[str, Any]) -> Callable[..., nn.Module]:
    def built(pretrained: bool = False, **given: Any) -> nn.Module:
        return build(kind, name, pretrained, given, **sizes)

    built.__name__ = name
    return built


def configuration(**own: Any) -> dict[str, Any]:
    """timm's description of a model: its input, and the modules that change with the number of channels or classes."""
    return {
        "url": "",
        "num_classes": 1000,
        "input_size": (3, 224, 224),
        "pool_size": None,
        "crop_pct": 1.0,
        "interpolation": "bicubic",
        "fixed_input_size": True,
        "mean": IMAGENET_DEFAULT_MEAN,
        "std": IMAGENET_DEFAULT_STD,
        "first_conv": "patch_embed.proj",
        "classifier": "head",
        **own,
    }


def build(kind: type[nn.Module], name: str, pretrained: bool, given: dict[str, Any], **sizes: Any) -> nn.Module:
    """Build a registered model with its own sizes; `given` overrides any of them."""
    features = {"out_indices": 3, "feature_cls": "getter"}  # a new dictionary each time, because timm empties it
    model = build_model_with_cfg(kind, name, pretrained, feature_cfg=features, **{**sizes, **given})
    # timm writes these, and what was given, into a config: it holds all sizes, so any model of the class can read it.
    model._model_args = sizes  # pyright: ignore[reportAttributeAccessIssue, reportArgumentType]
    return model
