"""The table from a block's class to its twin. A new architecture is a file beside this one and a line here.

TWINS               blocks: their forward is rewritten around `residual`
KEPT                blocks that have drop path modules and are never dropped: class attention
REPLICATION_POINTS  modules at whose input copies must be made (default: the first block)
UNSUPPORTED         modules that regroup rows; their models are refused
HOSTS               modules that reshape their output by the number of images at their input
"""

from timm.models.beit import Beit
from timm.models.cait import Cait, LayerScaleBlockClassAttn
from timm.models.eva import Eva
from timm.models.mobilevit import MobileVitBlock
from timm.models.naflexvit import NaFlexVit
from timm.models.qwen3_vit import Qwen3VitEncoder
from timm.models.vision_transformer import VisionTransformer
from timm.models.vision_transformer_relpos import VisionTransformerRelPos
from timm.models.xcit import ClassAttentionBlock, Xcit
from torch import nn

from cosub.twins.beit import BEiTBlock
from cosub.twins.cait import CaiTBlock
from cosub.twins.chain import (
    ByobAttention,
    ByobBasic,
    ByobBottleneck,
    ByobDark,
    ByobEdge,
    CSPBottleneck,
    CSPDark,
    CSPEdge,
    CSPStage,
    CSPStage3,
)
from cosub.twins.convnext import ConvNeXtTwin
from cosub.twins.efficientnet import (
    CondConvTwin,
    ConvTwin,
    EdgeTwin,
    InvertedTwin,
    MobileAttentionTwin,
    SeparableTwin,
    UniversalTwin,
)
from cosub.twins.eva import EVABlock, EVAPostNormBlock
from cosub.twins.from_torchvision import VISION_TWINS
from cosub.twins.hiera import HieraTwin
from cosub.twins.host import Host
from cosub.twins.maxvit import CoAtNetBlock, MaxConvNeXt, MaxMBConv, Partition, Partition2d
from cosub.twins.patchconvnet import PatchConvTwin
from cosub.twins.preact import NFBlock, V2Basic, V2Bottleneck, V2PostBottleneck
from cosub.twins.regnet import RegNetBottleneck
from cosub.twins.relpos import RelPosTwin, ResPostRelPosTwin
from cosub.twins.resnet import ResNetBasic, ResNetBottleneck
from cosub.twins.swin import SwinBlock, SwinV2Block
from cosub.twins.tokens import NaFlexHost, TokenHost
from cosub.twins.twin import Twin
from cosub.twins.vit import PiTStage, ViTBlock
from cosub.twins.xcit import XCiTBlock

FAMILIES = (
    *("ViT", "DeiT", "DeiT-III", "MAE's ViT", "BEiT", "CaiT", "PiT", "XCiT", "Swin"),
    *("ConvNeXt", "ConvNeXt V2", "ResNet", "RegNet", "EfficientNet", "EfficientNetV2", "PatchConvNet"),
    *("DINOv2", "DINOv3", "EVA", "Swin V2", "MobileNet V2 to V4", "HRNet", "Hiera", "MaxViT", "CoAtNet"),
    *("ResNetV2", "NFNet", "ByobNet", "CSPNet", "ViT with relative positions"),
    "torchvision's ViT, Swin, Swin V2, ConvNeXt, ResNet and RegNet",
    "transformers' ViT and DINOv2",
)

TWINS: dict[type[nn.Module], type[Twin]] = {
    twin.timm_class: twin
    for twin in (
        *(ViTBlock, BEiTBlock, CaiTBlock, XCiTBlock, SwinBlock, ConvNeXtTwin),
        *(ResNetBasic, ResNetBottleneck, RegNetBottleneck),
        *(ConvTwin, SeparableTwin, InvertedTwin, EdgeTwin),
        PatchConvTwin,
        *VISION_TWINS.values(),
        *(EVABlock, EVAPostNormBlock, SwinV2Block),
        *(CondConvTwin, UniversalTwin, MobileAttentionTwin),
        HieraTwin,
        *(MaxMBConv, MaxConvNeXt, CoAtNetBlock, Partition, Partition2d),
        *(ByobBasic, ByobBottleneck, ByobDark, ByobEdge, ByobAttention),
        *(CSPBottleneck, CSPDark, CSPEdge),
        *(V2Basic, V2Bottleneck, V2PostBottleneck, NFBlock),
        *(RelPosTwin, ResPostRelPosTwin),
    )
}
KEPT: frozenset[type[nn.Module]] = frozenset({LayerScaleBlockClassAttn, ClassAttentionBlock})
REPLICATION_POINTS: dict[type[nn.Module], type[Twin]] = {
    twin.timm_class: twin for twin in (PiTStage, CSPStage, CSPStage3)
}
UNSUPPORTED: frozenset[type[nn.Module]] = frozenset({MobileVitBlock, Qwen3VitEncoder})
HOSTS: dict[type[nn.Module], type[Host]] = {
    **dict.fromkeys((VisionTransformer, VisionTransformerRelPos, Beit, Cait, Xcit, Eva), TokenHost),
    NaFlexVit: NaFlexHost,
}

# Where the package transformers defines blocks that have a twin.
_OF_TRANSFORMERS = {f"transformers.models.{name}.modeling_{name}" for name in ("vit", "dinov2")}


def register_twins(model: nn.Module) -> None:
    """Add the twins of transformers' blocks to the table, if the model has such blocks: else nothing imports it."""
    if any(type(module).__module__ in _OF_TRANSFORMERS for module in model.modules()):
        from cosub.twins.from_transformers import TRANSFORMERS_TWINS

        TWINS.update(TRANSFORMERS_TWINS)
