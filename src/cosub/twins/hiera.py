"""Hiera: two residual layers per block, attention (in mask units or global) and MLP, on tokens `(R, N, D)`.

Where the width grows, attention pools its queries and the shortcut is pooled too. The shortcut runs on all rows.
"""

from typing import Any

import torch
from timm.models.hiera import HieraBlock
from torch import Tensor

from cosub.submodel import Rows
from cosub.twins.twin import Twin


class HieraTwin(Twin, HieraBlock):
    """Twin of Hiera's block."""

    branches = (("norm1", "attn", "ls1"), ("norm2", "mlp", "ls2"))
    timm_class = HieraBlock

    @classmethod
    def branches_of(cls, block: Any) -> tuple[tuple[str, ...], ...]:
        # A pooled shortcut uses norm1 and attention's stride, so these stay.
        return (("attn.qkv", "attn.proj", "ls1"), cls.branches[1]) if block.do_expand else cls.branches

    @classmethod
    def around_of(cls, block: Any) -> tuple[str, ...] | None:
        return None if block.do_expand else ()

    def run(self, x: Tensor, rows: tuple[Rows | None, ...]) -> Tensor:
        around = x
        if self.do_expand:
            normed = self.norm1(x)
            around = self._pooled(x, normed)
            y = self.residual(normed, lambda h: self.ls1(self.attn(h)), rows[0], shortcut=around)
        else:
            y = self.residual(x, lambda h: self.ls1(self.attn(self.norm1(h))), rows[0])
        return self.residual(y, lambda h: self.ls2(self.mlp(self.norm2(h))), rows[1])

    def _pooled(self, x: Tensor, normed: Tensor) -> Tensor:
        """The shortcut, at the width after the block: tokens pooled over `stride` equal parts."""
        if self.proj is not None:
            return self.proj(normed).unflatten(1, (self.attn.q_stride, -1)).amax(1)
        parts = x.unflatten(1, (self.attn.q_stride, -1))
        return torch.cat([parts.amax(1), parts.mean(1)], -1)
