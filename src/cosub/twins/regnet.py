"""RegNet: one residual layer per block, on maps `(R, C, H, W)`, as ResNet."""

from typing import Any

from timm.models.regnet import Bottleneck

from cosub.twins.sequence import Sequence


class RegNetBottleneck(Sequence, Bottleneck):
    """Twin of RegNet's block. In timm one without a `downsample` has no shortcut, so it is no residual layer."""

    branches = (("conv1", "conv2", "se", "conv3"),)
    around = ("downsample", "act3")
    timm_class = Bottleneck

    @classmethod
    def layers_of(cls, block: Any) -> int:
        return 0 if block.downsample is None else 1
