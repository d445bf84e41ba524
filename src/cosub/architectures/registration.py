"""What the registered models share: their description for timm, and how they are built."""

from typing import Any, TypeVar

from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import build_model_with_cfg
from torch import nn

Model = TypeVar("Model", bound=nn.Module)


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


def build(kind: type[Model], name: str, pretrained: bool, given: dict[str, Any], **sizes: Any) -> Model:
    """Build a registered model with its own sizes; `given` overrides any of them."""
    features = {"out_indices": 3, "feature_cls": "getter"}  # a new dictionary each time, because timm empties it
    model = build_model_with_cfg(kind, name, pretrained, feature_cfg=features, **{**sizes, **given})
    # timm writes these, and what was given, into a config: it holds all sizes, so any model of the class can read it.
    model._model_args = sizes  # pyright: ignore[reportAttributeAccessIssue, reportArgumentType]
    return model
