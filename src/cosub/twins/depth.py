"""Whether a timm model without some of its blocks is timm's own model of a smaller depth."""

from collections.abc import Set
from dataclasses import dataclass
from typing import Any

from timm.models.beit import Beit
from timm.models.cait import Cait
from timm.models.convnext import ConvNeXt
from timm.models.pit import PoolingVisionTransformer
from timm.models.resnet import ResNet
from timm.models.swin_transformer import SwinTransformer
from timm.models.swin_transformer_v2 import SwinTransformerV2
from timm.models.vision_transformer import VisionTransformer
from timm.models.xcit import Xcit
from torch import nn

from cosub.architectures.patchconvnet import PatchConvNet
from cosub.twins import TWINS

# The argument that sets the number of blocks; of networks in stages it is a list.
_DEPTH: dict[type[nn.Module], str] = {
    VisionTransformer: "depth",
    Beit: "depth",
    Cait: "depth",
    Xcit: "depth",
    PatchConvNet: "depth",
    PoolingVisionTransformer: "depth",
    SwinTransformer: "depths",
    SwinTransformerV2: "depths",
    ConvNeXt: "depths",
    ResNet: "layers",
}
_STAGES = (PoolingVisionTransformer, SwinTransformer, SwinTransformerV2, ConvNeXt, ResNet)


@dataclass(frozen=True)
class Depth:
    """A smaller depth: timm's argument with its value, and the numbers of the blocks that stay in each stage."""

    argument: str
    value: int | list[int]
    left: dict[str, list[int]]


def depth_without(model: nn.Module, gone: Set[str]) -> Depth | None:
    """The depth that leaves out the named blocks of a timm model, not attached; None where none does.

    Each stage has to keep a block, a block that goes has to be the identity without its branches, and those behind it
    have to be what they were: of Swin's blocks every second one shifts its windows.
    """
    argument = next((argument for kind, argument in _DEPTH.items() if isinstance(model, kind)), None)
    blocks = {name: module for name, module in model.named_modules() if type(module) in TWINS}
    if argument is None or not all(TWINS[type(blocks[name])].vanishes(blocks[name]) for name in gone):
        return None
    stages = list(dict.fromkeys(name.rpartition(".")[0] for name in blocks))
    left = {stage: [index for index in _children(model, stage) if f"{stage}.{index}" not in gone] for stage in stages}
    depths = [len(indices) for indices in left.values()]
    if not all(depths):
        return None
    places = [(stage, old, new) for stage, indices in left.items() for new, old in enumerate(indices)]
    if any(_shift(model, f"{stage}.{old}") != _shift(model, f"{stage}.{new}") for stage, old, new in places):
        return None
    return Depth(argument, depths if isinstance(model, _STAGES) else depths[0], left)


def _children(model: nn.Module, stage: str) -> list[int]:
    return [int(name) for name, _ in model.get_submodule(stage).named_children()]


def _shift(model: nn.Module, block: str) -> Any:
    return getattr(model.get_submodule(block), "shift_size", None)
