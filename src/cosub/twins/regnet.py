"""RegNet: one residual layer per block, on maps `(R, C, H, W)`, as ResNet."""

from typing import Any

from timm.models.regnet import Bottleneck
from torch import Tensor, nn

from cosub.submodel import Rows
from cosub.twins.twin import Twin, untouched


class RegNetBottleneck(Twin, Bottleneck):
    """Twin of RegNet's block. In timm one without a `downsample` has no shortcut, so it is no residual layer."""

    layers = 1
    se: Any
    downsample: Any
    branches = (("conv1", "conv2", "se", "conv3"),)
    around = ("downsample", "act3")
    timm_class = Bottleneck

    @classmethod
    def layers_of(cls, block: Any) -> int:
        return 0 if block.downsample is None else 1

    def run(self, x: Tensor, rows: tuple[Rows | None, ...]) -> Tensor:
        around = None if isinstance(self.downsample, nn.Identity) else self.downsample(x)
        y = self.residual(x, lambda h: self.conv3(self.se(self.conv2(self.conv1(h)))), rows[0], shortcut=around)
        return self.act3(untouched(y, x))
