"""ResNet: one residual layer per block, on maps `(R, C, H, W)`; BatchNorm in the branch sees the kept rows alone.

The shortcut, which may downsample, and the activation after the addition run on all rows.
"""

from timm.models.resnet import BasicBlock, Bottleneck

from cosub.twins.sequence import Sequence


class ResNetBasic(Sequence, BasicBlock):
    """Twin of the block of ResNet-18 and 34."""

    branches = (("conv1", "bn1", "drop_block", "act1", "aa", "conv2", "bn2", "se"),)
    around = ("downsample", "act2")
    timm_class = BasicBlock


class ResNetBottleneck(Sequence, Bottleneck):
    """Twin of the block of ResNet-50, 101 and 152."""

    branches = (("conv1", "bn1", "act1", "conv2", "bn2", "drop_block", "act2", "aa", "conv3", "bn3", "se"),)
    around = ("downsample", "act3")
    timm_class = Bottleneck
