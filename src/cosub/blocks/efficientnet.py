"""EfficientNet and EfficientNetV2: at most one residual layer a block, on maps `(R, C, H, W)`.

Blocks that change the shape have no skip and are left as they are. BatchNorm sees the kept rows alone.
"""

from typing import Any

from timm.models._efficientnet_blocks import ConvBnAct, DepthwiseSeparableConv, EdgeResidual, InvertedResidual
from torch import Tensor

from cosub.blocks.twin import Twin
from cosub.submodel import Rows


class _Skipping(Twin):
    layers = 1
    aa: Any
    se: Any
    bn_s2d: Any

    @classmethod
    def layers_of(cls, block: Any) -> int:
        return int(block.has_skip)

    def run(self, x: Tensor, rows: tuple[Rows | None, ...]) -> Tensor:
        return self.residual(x, self._branch, rows[0])

    def _branch(self, h: Tensor) -> Tensor:
        raise NotImplementedError


class ConvTwin(_Skipping, ConvBnAct):
    """Twin of one convolution with its norm and activation."""

    branches = (("conv", "bn1", "aa"),)
    timm_class = ConvBnAct

    def _branch(self, h: Tensor) -> Tensor:
        return self.aa(self.bn1(self.conv(h)))


class SeparableTwin(_Skipping, DepthwiseSeparableConv):
    """Twin of a depthwise and a pointwise convolution."""

    branches = (("conv_s2d", "bn_s2d", "conv_dw", "bn1", "aa", "se", "conv_pw", "bn2"),)
    timm_class = DepthwiseSeparableConv

    def _branch(self, h: Tensor) -> Tensor:
        if self.conv_s2d is not None:
            h = self.bn_s2d(self.conv_s2d(h))
        h = self.se(self.aa(self.bn1(self.conv_dw(h))))
        return self.bn2(self.conv_pw(h))


class InvertedTwin(_Skipping, InvertedResidual):
    """Twin of MBConv: wider, depthwise, squeeze-and-excitation, narrower."""

    branches = (("conv_s2d", "bn_s2d", "conv_pw", "bn1", "conv_dw", "bn2", "aa", "se", "conv_pwl", "bn3"),)
    timm_class = InvertedResidual

    def _branch(self, h: Tensor) -> Tensor:
        if self.conv_s2d is not None:
            h = self.bn_s2d(self.conv_s2d(h))
        h = self.bn1(self.conv_pw(h))
        h = self.se(self.aa(self.bn2(self.conv_dw(h))))
        return self.bn3(self.conv_pwl(h))


class EdgeTwin(_Skipping, EdgeResidual):
    """Twin of fused MBConv."""

    branches = (("conv_exp", "bn1", "aa", "se", "conv_pwl", "bn2"),)
    timm_class = EdgeResidual

    def _branch(self, h: Tensor) -> Tensor:
        h = self.se(self.aa(self.bn1(self.conv_exp(h))))
        return self.bn2(self.conv_pwl(h))
