"""EfficientNet (V2 too) and MobileNet V1 to V4: at most one residual layer per block, on maps `(R, C, H, W)`.

Blocks that change the shape have no skip and are left as they are. BatchNorm sees the kept rows alone.
"""

from typing import Any

import torch
import torch.nn.functional as F
from timm.models._efficientnet_blocks import (
    CondConvResidual,
    ConvBnAct,
    DepthwiseSeparableConv,
    EdgeResidual,
    InvertedResidual,
    MobileAttention,
    UniversalInvertedResidual,
)
from torch import Tensor

from cosub.twins.sequence import Sequence


class _Skipping(Sequence):
    @classmethod
    def layers_of(cls, block: Any) -> int:
        return int(block.has_skip)


class ConvTwin(_Skipping, ConvBnAct):
    """Twin of one convolution with its norm and activation."""

    branches = (("conv", "bn1", "aa"),)
    timm_class = ConvBnAct


class SeparableTwin(_Skipping, DepthwiseSeparableConv):
    """Twin of a depthwise and a pointwise convolution."""

    branches = (("conv_s2d", "bn_s2d", "conv_dw", "bn1", "aa", "se", "conv_pw", "bn2"),)
    timm_class = DepthwiseSeparableConv


class InvertedTwin(_Skipping, InvertedResidual):
    """Twin of MBConv: expansion, depthwise convolution, squeeze-and-excitation, projection."""

    branches = (("conv_s2d", "bn_s2d", "conv_pw", "bn1", "conv_dw", "bn2", "aa", "se", "conv_pwl", "bn3"),)
    timm_class = InvertedResidual


class EdgeTwin(_Skipping, EdgeResidual):
    """Twin of fused MBConv."""

    branches = (("conv_exp", "bn1", "aa", "se", "conv_pwl", "bn2"),)
    timm_class = EdgeResidual


class CondConvTwin(_Skipping, CondConvResidual):
    """Twin of MBConv with conditional convolutions, whose kernels are mixed per row."""

    branches = (("routing_fn", "conv_pw", "bn1", "conv_dw", "bn2", "aa", "se", "conv_pwl", "bn3"),)
    timm_class = CondConvResidual

    def branch(self, h: Tensor) -> Tensor:
        routing = torch.sigmoid(self.routing_fn(F.adaptive_avg_pool2d(h, 1).flatten(1)))
        h = self.bn1(self.conv_pw(h, routing))
        h = self.se(self.bn2(self.conv_dw(h, routing)))
        return self.bn3(self.conv_pwl(h, routing))


class UniversalTwin(_Skipping, UniversalInvertedResidual):
    """Twin of MobileNetV4's inverted bottleneck: depthwise convolutions at the start, the middle, the end, or none."""

    branches = (("dw_start", "pw_exp", "dw_mid", "se", "pw_proj", "dw_end", "layer_scale"),)
    timm_class = UniversalInvertedResidual


class MobileAttentionTwin(_Skipping, MobileAttention):
    """Twin of MobileNetV4's attention. One with a conditional position encoding, which timm never builds, is left."""

    branches = (("norm", "attn", "layer_scale"),)
    timm_class = MobileAttention

    @classmethod
    def layers_of(cls, block: Any) -> int:
        return int(block.has_skip and block.conv_cpe_dw is None)
