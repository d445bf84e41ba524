"""What the registered models share: how timm is told about a model, and how it builds one."""

from typing import Any, TypeVar

from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import build_model_with_cfg
from torch import nn

Model = TypeVar("Model", bound=nn.Module)


def configuration(**own: Any) -> dict[str, Any]:
    """timm's description of a model: the images it takes, and the modules that other channels or classes replace."""
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
    """A registered model with its own sizes, each of which may be given otherwise."""
    features = {"out_indices": 3, "feature_cls": "getter"}  # a new one each time: timm empties it
    model = build_model_with_cfg(kind, name, pretrained, feature_cfg=features, **{**sizes, **given})
    # timm adds what was given: so all sizes are in a config that it writes, and a name that has others will do.
    model._model_args = sizes  # pyright: ignore[reportAttributeAccessIssue, reportArgumentType]
    return model
