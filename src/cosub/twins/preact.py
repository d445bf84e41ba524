"""ResNetV2, BiT and NFNet: one residual layer per block, on maps `(R, C, H, W)`, activated before the branch.

Where the shape changes, the shortcut starts after the first norm or activation, which then runs on all rows.
"""

from typing import Any

from timm.models.nfnet import NormFreeBlock
from timm.models.resnetv2 import Bottleneck, PreActBasic, PreActBottleneck
from torch import Tensor, nn

from cosub.submodel import Rows
from cosub.twins.sequence import Sequence
from cosub.twins.twin import Twin


class _PreActivated(Twin):
    around = ("norm1", "downsample")
    norm1: nn.Module
    downsample: Any

    @classmethod
    def branches_of(cls, block: Any) -> tuple[tuple[str, ...], ...]:
        return cls.branches if block.downsample is None else (cls.branches[0][1:],)

    @classmethod
    def around_of(cls, block: Any) -> tuple[str, ...]:
        return () if block.downsample is None else cls.around

    def run(self, x: Tensor, rows: tuple[Rows | None, ...]) -> Tensor:
        if self.downsample is None:
            return self.residual(x, lambda h: self._branch(self._before(h)), rows[0])
        ready = self._before(x)
        return self.residual(ready, self._branch, rows[0], shortcut=self.downsample(ready))

    def _before(self, h: Tensor) -> Tensor:
        return self.norm1(h)

    def _branch(self, h: Tensor) -> Tensor:
        raise NotImplementedError


class V2Basic(_PreActivated, PreActBasic):
    """Twin of ResNetV2's block of two convolutions."""

    branches = (("norm1", "conv1", "norm2", "conv2"),)
    timm_class = PreActBasic

    def _branch(self, h: Tensor) -> Tensor:
        return self.conv2(self.norm2(self.conv1(h)))


class V2Bottleneck(_PreActivated, PreActBottleneck):
    """Twin of ResNetV2's bottleneck."""

    branches = (("norm1", "conv1", "norm2", "conv2", "norm3", "conv3"),)
    timm_class = PreActBottleneck

    def _branch(self, h: Tensor) -> Tensor:
        return self.conv3(self.norm3(self.conv2(self.norm2(self.conv1(h)))))


class V2PostBottleneck(Sequence, Bottleneck):
    """Twin of the bottleneck in the order of the first ResNet."""

    branches = (("conv1", "norm1", "conv2", "norm2", "conv3", "norm3"),)
    around = ("downsample", "act3")
    timm_class = Bottleneck


class NFBlock(_PreActivated, NormFreeBlock):
    """Twin of NFNet's block; all factors of the branch are part of it."""

    act1: Any
    conv1: Any
    act2: Any
    conv2: Any
    act2b: Any
    conv2b: Any
    attn: Any
    act3: Any
    conv3: Any
    attn_last: Any
    skipinit_gain: Any
    alpha: float
    beta: float
    attn_gain: float
    branches = (
        ("act1", "conv1", "act2", "conv2", "act2b", "conv2b", "attn", "act3", "conv3", "attn_last", "skipinit_gain"),
    )
    around = ("act1", "beta", "downsample")
    timm_class = NormFreeBlock

    def _before(self, h: Tensor) -> Tensor:
        return self.act1(h) * self.beta

    def _branch(self, h: Tensor) -> Tensor:
        h = self.conv2(self.act2(self.conv1(h)))
        if self.conv2b is not None:
            h = self.conv2b(self.act2b(h))
        if self.attn is not None:
            h = self.attn_gain * self.attn(h)
        h = self.conv3(self.act3(h))
        if self.attn_last is not None:
            h = self.attn_gain * self.attn_last(h)
        return (h if self.skipinit_gain is None else h * self.skipinit_gain) * self.alpha
