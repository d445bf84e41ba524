"""ResNet: one residual layer per block, on maps `(R, C, H, W)`; BatchNorm in the branch sees the kept rows alone.

The shortcut, which may downsample, and the activation after the addition run on all rows.
"""

from typing import Any

from timm.models.resnet import BasicBlock, Bottleneck
from torch import Tensor

from cosub.submodel import Rows
from cosub.twins.twin import Twin, untouched


class ResNetBasic(Twin, BasicBlock):
    """Twin of the block of ResNet-18 and 34."""

    layers = 1
    aa: Any
    drop_block: Any
    branches = (("conv1", "bn1", "drop_block", "act1", "aa", "conv2", "bn2", "se"),)
    around = ("downsample", "act2")
    timm_class = BasicBlock

    def run(self, x: Tensor, rows: tuple[Rows | None, ...]) -> Tensor:
        around = None if self.downsample is None else self.downsample(x)
        y = self.residual(x, self._branch, rows[0], shortcut=around)
        return self.act2(untouched(y, x))

    def _branch(self, h: Tensor) -> Tensor:
        h = self.aa(self.act1(self.drop_block(self.bn1(self.conv1(h)))))
        h = self.bn2(self.conv2(h))
        return h if self.se is None else self.se(h)


class ResNetBottleneck(Twin, Bottleneck):
    """Twin of the block of ResNet-50, 101 and 152."""

    layers = 1
    aa: Any
    drop_block: Any
    branches = (("conv1", "bn1", "act1", "conv2", "bn2", "drop_block", "act2", "aa", "conv3", "bn3", "se"),)
    around = ("downsample", "act3")
    timm_class = Bottleneck

    def run(self, x: Tensor, rows: tuple[Rows | None, ...]) -> Tensor:
        around = None if self.downsample is None else self.downsample(x)
        y = self.residual(x, self._branch, rows[0], shortcut=around)
        return self.act3(untouched(y, x))

    def _branch(self, h: Tensor) -> Tensor:
        h = self.act1(self.bn1(self.conv1(h)))
        h = self.aa(self.act2(self.drop_block(self.bn2(self.conv2(h)))))
        h = self.bn3(self.conv3(h))
        return h if self.se is None else self.se(h)
