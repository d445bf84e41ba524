"""MaxViT, MaxxViT, CoAtNet, CoAtNeXt: convolution blocks of one residual layer, attention blocks of two, on maps.

Pooled shortcuts run on all rows. Only the kept rows are partitioned into windows and grids. Blocks that a parent calls
by name stay when all their branches are removed.
"""

from typing import Any

from timm.models.maxxvit import (
    ConvNeXtBlock,
    MbConvBlock,
    PartitionAttention2d,
    PartitionAttentionCl,
    TransformerBlock2d,
)
from torch import Tensor, nn

from cosub.submodel import Rows
from cosub.twins.sequence import Sequence
from cosub.twins.twin import Twin


class _Convolution(Sequence):
    around = ("shortcut", "")

    @classmethod
    def vanishes(cls, block: Any) -> bool:
        return False


class MaxMBConv(_Convolution, MbConvBlock):
    """Twin of the pre-normalised MBConv, maps `(R, C, H, W)`; its BatchNorm sees the kept rows alone."""

    branches = (("pre_norm", "down", "conv1_1x1", "norm1", "conv2_kxk", "se_early", "norm2", "se", "conv3_1x1"),)
    timm_class = MbConvBlock


class MaxConvNeXt(_Convolution, ConvNeXtBlock):
    """Twin of MaxxViT's ConvNeXt block, maps `(R, C, H, W)`."""

    branches = (("down", "conv_dw", "norm", "mlp", "ls"),)
    timm_class = ConvNeXtBlock

    def branch(self, h: Tensor) -> Tensor:
        h = self.conv_dw(self.down(h))
        if self.use_conv_mlp:
            return self.ls(self.mlp(self.norm(h)))
        return self.ls(self.mlp(self.norm(h.permute(0, 2, 3, 1)))).permute(0, 3, 1, 2)


class CoAtNetBlock(Twin, TransformerBlock2d):
    """Twin of CoAtNet's transformer block, maps `(R, C, H, W)`."""

    branches = (("norm1", "attn", "ls1"), ("norm2", "mlp", "ls2"))
    around = ("shortcut",)
    timm_class = TransformerBlock2d

    def run(self, x: Tensor, rows: tuple[Rows | None, ...], shared_rel_pos: Tensor | None = None) -> Tensor:
        around = None if isinstance(self.shortcut, nn.Identity) else self.shortcut(x)
        y = self.residual(
            x,
            lambda h: self.ls1(self.attn(self.norm1(h), shared_rel_pos=shared_rel_pos)),
            rows[0],
            shortcut=around,
        )
        return self.residual(y, lambda h: self.ls2(self.mlp(self.norm2(h))), rows[1])


class _Partition(Twin):
    branches = (("norm1", "attn", "ls1"), ("norm2", "mlp", "ls2"))
    _partition_attn: Any
    norm1: nn.Module
    ls1: nn.Module
    norm2: nn.Module
    mlp: nn.Module
    ls2: nn.Module

    @classmethod
    def vanishes(cls, block: Any) -> bool:
        return False

    def run(self, x: Tensor, rows: tuple[Rows | None, ...]) -> Tensor:
        y = self.residual(x, lambda h: self.ls1(self._partition_attn(self.norm1(h))), rows[0])
        return self.residual(y, lambda h: self.ls2(self.mlp(self.norm2(h))), rows[1])


class Partition(_Partition, PartitionAttentionCl):
    """Twin of attention in windows or grids, maps `(R, H, W, C)`."""

    timm_class = PartitionAttentionCl


class Partition2d(_Partition, PartitionAttention2d):
    """Twin of attention in windows or grids, maps `(R, C, H, W)`."""

    timm_class = PartitionAttention2d
