"""The factor of a submodel's kept branches, folded into the last parameters of each branch: exact up to rounding."""

from typing import Any

import torch
from timm.models._efficientnet_blocks import (
    CondConvResidual,
    DepthwiseSeparableConv,
    EdgeResidual,
    InvertedResidual,
    MobileAttention,
    UniversalInvertedResidual,
)
from timm.models.beit import Block as BEiTBlock
from timm.models.cait import LayerScaleBlock
from timm.models.convnext import ConvNeXtBlock
from timm.models.eva import EvaBlock, EvaBlockPostNorm
from timm.models.hiera import HieraBlock
from timm.models.maxxvit import ConvNeXtBlock as MaxxViTConvNeXtBlock
from timm.models.maxxvit import MbConvBlock, PartitionAttention2d, PartitionAttentionCl, TransformerBlock2d
from timm.models.regnet import Bottleneck as RegNetBottleneck
from timm.models.resnet import BasicBlock, Bottleneck
from timm.models.swin_transformer import SwinTransformerBlock
from timm.models.swin_transformer_v2 import SwinTransformerV2Block
from timm.models.vision_transformer import Block
from timm.models.xcit import XCABlock
from torch import nn

from cosub.architectures.patchconvnet import PatchConvBlock

_SCALED = (("ls1.gamma", "attn.proj"), ("ls2.gamma", "mlp.fc2"))

# What each residual layer of a block ends in, the first of these that it has: the factors of LayerScale, or a
# projection or norm, whose weight and bias both take the factor.
_ENDS: dict[type[nn.Module], tuple[tuple[str, ...], ...]] = {
    **dict.fromkeys((Block, HieraBlock, TransformerBlock2d, PartitionAttentionCl, PartitionAttention2d), _SCALED),
    BEiTBlock: (("gamma_1", "attn.proj"), ("gamma_2", "mlp.fc2")),
    LayerScaleBlock: (("gamma_1",), ("gamma_2",)),
    XCABlock: (("gamma1",), ("gamma3",), ("gamma2",)),
    SwinTransformerBlock: (("attn.proj",), ("mlp.fc2",)),
    ConvNeXtBlock: (("gamma", "mlp.fc2"),),
    BasicBlock: (("bn2",),),
    Bottleneck: (("bn3",),),
    RegNetBottleneck: (("conv3.bn",),),
    DepthwiseSeparableConv: (("bn2",),),
    InvertedResidual: (("bn3",),),
    EdgeResidual: (("bn2",),),
    PatchConvBlock: (("gamma_1",),),
    EvaBlock: (("gamma_1", "attn.proj"), ("gamma_2", "mlp.fc2")),
    EvaBlockPostNorm: (("norm1",), ("norm2",)),
    SwinTransformerV2Block: (("norm1",), ("norm2",)),
    CondConvResidual: (("bn3",),),
    UniversalInvertedResidual: (("layer_scale.gamma", "dw_end.bn", "pw_proj.bn"),),
    MobileAttention: (("layer_scale.gamma",),),
    MbConvBlock: (("conv3_1x1",),),
    MaxxViTConvNeXtBlock: (("ls.gamma", "mlp.fc2"),),
}


def fold(block: nn.Module, layer: int, factor: float) -> bool:
    """Multiply a residual layer of a timm block by a factor, in place.

    Returns:
        Whether its branch ends in something that can take it; otherwise nothing was changed. A branch may end in an
        activation, or in squeeze-and-excitation.
    """
    ends = _ENDS.get(type(block))
    found = (
        None if ends is None else next((end for name in ends[layer] if (end := _get(block, name)) is not None), None)
    )
    gated = isinstance(block, BasicBlock | Bottleneck) and block.se is not None
    if found is None or gated:
        return False
    with torch.no_grad():
        for parameter in [found] if isinstance(found, nn.Parameter) else found.parameters(recurse=False):
            parameter.mul_(factor)
    return True


def _get(block: nn.Module, name: str) -> Any:
    found: Any = block
    for part in name.split("."):
        found = getattr(found, part, None)
    return found
