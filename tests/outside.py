"""Small networks of torchvision and transformers, with weights that matter, for the contract of test_attach.py."""

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from conftest import SMALL
from packaging.version import Version
from torch import Tensor, nn
from torchvision.models.convnext import CNBlockConfig, ConvNeXt
from torchvision.models.regnet import BlockParams, RegNet
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet
from torchvision.models.swin_transformer import PatchMergingV2, SwinTransformer, SwinTransformerBlockV2
from torchvision.models.vision_transformer import VisionTransformer

transformers = pytest.importorskip("transformers")
TRANSFORMER = {"image_size": 32, "patch_size": 8, "hidden_size": 24, "num_hidden_layers": 4, "num_attention_heads": 3}


class Narrow(ResNet):
    """An eighth as wide."""

    def __init__(self, block: Any, layers: list[int]) -> None:
        super().__init__(block, layers)
        self.fc = nn.Linear(64 * block.expansion, 5)

    def _make_layer(self, block: Any, planes: int, *args: Any, **kwargs: Any) -> nn.Sequential:
        return super()._make_layer(block, planes // 8, *args, **kwargs)


class Logits(nn.Module):
    """A model of transformers that is given its images by name, for tests that want a tensor."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return self.model(pixel_values=images).logits


def swin(rate: float = 0.0, **settings: Any) -> nn.Module:
    shape = {"patch_size": [2, 2], "embed_dim": 8, "depths": [2, 2], "num_heads": [2, 2], "window_size": [4, 4]}
    return SwinTransformer(**{**shape, **settings}, stochastic_depth_prob=rate, num_classes=5)


def convnext(rate: float = 0.0) -> nn.Module:
    stages = [CNBlockConfig(8, 12, 1), CNBlockConfig(12, 16, 2), CNBlockConfig(16, None, 1)]
    return ConvNeXt(stages, stochastic_depth_prob=rate, num_classes=5)


def vit(attention: str = "sdpa", **settings: Any) -> Any:
    config = transformers.ViTConfig(**{**TRANSFORMER, **settings}, intermediate_size=48, num_labels=5)
    config._attn_implementation = attention
    return transformers.ViTForImageClassification(config)


def dinov2(attention: str = "sdpa", kind: str = "Dinov2ForImageClassification", **settings: Any) -> Any:
    given = {"mlp_ratio": 2, "layerscale_value": 0.5, "use_mask_token": False, "num_labels": 5}
    config = transformers.Dinov2Config(**{**TRANSFORMER, **given, **settings})
    config._attn_implementation = attention
    return getattr(transformers, kind)(config)


OUTSIDE: dict[str, Callable[[], nn.Module]] = {
    "torchvision-vit": lambda: VisionTransformer(32, 8, 3, 3, 24, 48, num_classes=5),
    "torchvision-swin": swin,
    "torchvision-swin-v2": lambda: swin(block=SwinTransformerBlockV2, downsample_layer=PatchMergingV2),
    "torchvision-convnext": convnext,
    "torchvision-resnet18": lambda: Narrow(BasicBlock, [1, 2, 1, 1]),
    "torchvision-resnet50": lambda: Narrow(Bottleneck, [1, 2, 1, 1]),
    "torchvision-regnet": lambda: RegNet(BlockParams.from_init_params(6, 8, 8.0, 2.0, 4, se_ratio=0.25), num_classes=5),
}
if Version(transformers.__version__) >= Version("5.18"):  # layers of older ones have no twin, and are refused
    OUTSIDE |= {"transformers-vit": lambda: Logits(vit("eager")), "transformers-dinov2": lambda: Logits(dinov2())}


def made(make: Callable[[], nn.Module]) -> nn.Module:
    """With weights large enough that a wrong branch shows: some start at zero, or next to it."""
    torch.manual_seed(0)
    model = make()
    for parameter in model.parameters():
        if parameter.dim() > 1:
            nn.init.xavier_normal_(parameter)
    return model


@functools.cache
def built(family: str) -> nn.Module:
    """The small model of a family, of timm's or of these; to be copied."""
    if family in OUTSIDE:
        return made(OUTSIDE[family])
    torch.manual_seed(0)
    return SMALL[family]()
