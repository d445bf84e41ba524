"""torchvision's ViT, Swin, Swin V2, ConvNeXt, ResNet and RegNet: structured as timm's blocks, with other names."""

from torch import Tensor, nn
from torchvision.models.convnext import CNBlock
from torchvision.models.regnet import ResBottleneckBlock
from torchvision.models.resnet import BasicBlock, Bottleneck
from torchvision.models.swin_transformer import SwinTransformerBlock, SwinTransformerBlockV2
from torchvision.models.vision_transformer import EncoderBlock

from cosub.submodel import Rows
from cosub.twins.sequence import Sequence
from cosub.twins.twin import Twin


class EncoderTwin(Twin, EncoderBlock):
    """Twin of ViT's block; tokens are `(R, N, D)`."""

    branches = (("ln_1", "self_attention", "dropout"), ("ln_2", "mlp"))
    timm_class = EncoderBlock

    def run(self, x: Tensor, rows: tuple[Rows | None, ...]) -> Tensor:
        y = self.residual(x, self._attend, rows[0])
        return self.residual(y, lambda h: self.mlp(self.ln_2(h)), rows[1])

    def _attend(self, h: Tensor) -> Tensor:
        h = self.ln_1(h)
        return self.dropout(self.self_attention(h, h, h, need_weights=False)[0])


class SwinTwin(Twin, SwinTransformerBlock):
    """Twin of Swin's block, on maps `(R, H, W, D)`. Its attention partitions them into windows, and merges these."""

    branches = (("norm1", "attn"), ("norm2", "mlp"))
    timm_class = SwinTransformerBlock

    def run(self, x: Tensor, rows: tuple[Rows | None, ...]) -> Tensor:
        y = self.residual(x, lambda h: self.attn(self.norm1(h)), rows[0])
        return self.residual(y, lambda h: self.mlp(self.norm2(h)), rows[1])


class SwinV2Twin(Twin, SwinTransformerBlockV2):
    """Twin of Swin V2's block, whose norms come last in their branches."""

    branches = (("attn", "norm1"), ("mlp", "norm2"))
    timm_class = SwinTransformerBlockV2

    def run(self, x: Tensor, rows: tuple[Rows | None, ...]) -> Tensor:
        y = self.residual(x, lambda h: self.norm1(self.attn(h)), rows[0])
        return self.residual(y, lambda h: self.norm2(self.mlp(h)), rows[1])


class ConvNeXtTwin(Twin, CNBlock):
    """Twin of ConvNeXt's block, on maps `(R, C, H, W)`."""

    branches = (("block", "layer_scale"),)
    timm_class = CNBlock

    def run(self, x: Tensor, rows: tuple[Rows | None, ...]) -> Tensor:
        return self.residual(x, lambda h: self.layer_scale * self.block(h), rows[0])


class BasicTwin(Sequence, BasicBlock):
    """Twin of the block of ResNet-18 and 34; the shortcut and the activation at the end run on all rows."""

    branches = (("conv1", "bn1", "conv2", "bn2"),)
    around = ("downsample", "relu")
    timm_class = BasicBlock

    def branch(self, h: Tensor) -> Tensor:
        return self.bn2(self.conv2(self.relu(self.bn1(self.conv1(h)))))


class BottleneckTwin(Sequence, Bottleneck):
    """Twin of the block of the deeper ResNets, of ResNeXt and of wide ResNets."""

    branches = (("conv1", "bn1", "conv2", "bn2", "conv3", "bn3"),)
    around = ("downsample", "relu")
    timm_class = Bottleneck

    def branch(self, h: Tensor) -> Tensor:
        h = self.relu(self.bn1(self.conv1(h)))
        h = self.relu(self.bn2(self.conv2(h)))
        return self.bn3(self.conv3(h))


class RegNetTwin(Sequence, ResBottleneckBlock):
    """Twin of RegNet's block. Unlike in timm, every block has a shortcut."""

    branches = (("f",),)
    around = ("proj", "activation")
    timm_class = ResBottleneckBlock


VISION_TWINS: dict[type[nn.Module], type[Twin]] = {
    twin.timm_class: twin
    for twin in (EncoderTwin, SwinTwin, SwinV2Twin, ConvNeXtTwin, BasicTwin, BottleneckTwin, RegNetTwin)
}
