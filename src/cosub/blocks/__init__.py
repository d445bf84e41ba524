"""The table class -> twin, of blocks of timm and others. A new architecture is a file beside this one and a line here.

TWINS   blocks: their forward is rewritten around `residual`
KEPT    blocks with slots for drop path that their authors never drop: class attention
DOORS   modules before whose blocks copies must be made (default: the first block)
HOSTS   modules that fold their output with the number of images read at entry
"""

from timm.models._efficientnet_blocks import ConvBnAct, DepthwiseSeparableConv, EdgeResidual, InvertedResidual
from timm.models.beit import Beit
from timm.models.beit import Block as TimmBEiTBlock
from timm.models.cait import Cait, LayerScaleBlock, LayerScaleBlockClassAttn
from timm.models.convnext import ConvNeXtBlock
from timm.models.pit import Transformer as PiTTransformer
from timm.models.regnet import Bottleneck as TimmRegNetBottleneck
from timm.models.resnet import BasicBlock, Bottleneck
from timm.models.swin_transformer import SwinTransformerBlock
from timm.models.vision_transformer import Block, VisionTransformer
from timm.models.xcit import ClassAttentionBlock, XCABlock, Xcit
from torch import nn

from cosub.blocks.beit import BEiTBlock
from cosub.blocks.cait import CaiTBlock
from cosub.blocks.convnext import ConvNeXtTwin
from cosub.blocks.efficientnet import ConvTwin, EdgeTwin, InvertedTwin, SeparableTwin
from cosub.blocks.from_torchvision import VISION_TWINS
from cosub.blocks.patchconvnet import PatchConvTwin
from cosub.blocks.regnet import RegNetBottleneck
from cosub.blocks.resnet import ResNetBasic, ResNetBottleneck
from cosub.blocks.swin import SwinBlock
from cosub.blocks.tokens import TokenHost
from cosub.blocks.twin import Host, Twin
from cosub.blocks.vit import PiTStage, ViTBlock
from cosub.blocks.xcit import XCiTBlock
from cosub.models.patchconvnet import PatchConvBlock

FAMILIES = (
    *("ViT", "DeiT", "DeiT-III", "MAE's ViT", "BEiT", "CaiT", "PiT", "XCiT", "Swin"),
    *("ConvNeXt", "ConvNeXt V2", "ResNet", "RegNet", "EfficientNet", "EfficientNetV2", "PatchConvNet"),
    "torchvision's ViT, Swin, Swin V2, ConvNeXt, ResNet and RegNet",
    "transformers' ViT and DINOv2",
)

TWINS: dict[type[nn.Module], type[Twin]] = {
    Block: ViTBlock,
    TimmBEiTBlock: BEiTBlock,
    LayerScaleBlock: CaiTBlock,
    XCABlock: XCiTBlock,
    SwinTransformerBlock: SwinBlock,
    ConvNeXtBlock: ConvNeXtTwin,
    BasicBlock: ResNetBasic,
    Bottleneck: ResNetBottleneck,
    TimmRegNetBottleneck: RegNetBottleneck,
    ConvBnAct: ConvTwin,
    DepthwiseSeparableConv: SeparableTwin,
    InvertedResidual: InvertedTwin,
    EdgeResidual: EdgeTwin,
    PatchConvBlock: PatchConvTwin,
    **VISION_TWINS,
}
KEPT: frozenset[type[nn.Module]] = frozenset({LayerScaleBlockClassAttn, ClassAttentionBlock})
DOORS: dict[type[nn.Module], type[Twin]] = {PiTTransformer: PiTStage}
HOSTS: dict[type[nn.Module], type[Host]] = dict.fromkeys((VisionTransformer, Beit, Cait, Xcit), TokenHost)

# Where the package transformers defines blocks that have a twin.
_OF_TRANSFORMERS = {f"transformers.models.{name}.modeling_{name}" for name in ("vit", "dinov2")}


def learn(model: nn.Module) -> None:
    """Put twins of transformers' blocks into the table if the model has such blocks; others need not import it."""
    if any(type(module).__module__ in _OF_TRANSFORMERS for module in model.modules()):
        from cosub.blocks.from_transformers import TRANSFORMERS_TWINS

        TWINS.update(TRANSFORMERS_TWINS)
