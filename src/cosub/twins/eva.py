"""EVA, EVA-02, DINOv3, Perception Encoder, RoPE-ViT: two residual layers per block, factors of LayerScale held by it.

All rows share the rotary embedding. With patch dropout each image has its own, which is gathered with its rows.
"""

from typing import Any

from timm.models.eva import EvaBlock, EvaBlockPostNorm
from torch import Tensor

from cosub.submodel import Rows
from cosub.twins.twin import Twin, scaled
from cosub.twins.vit import of_rows


class EVABlock(Twin, EvaBlock):
    """Twin of the pre-normalised block; tokens are `(R, N, D)`."""

    branches = (("norm1", "attn", "gamma_1"), ("norm2", "mlp", "gamma_2"))
    timm_class = EvaBlock

    @classmethod
    def vanishes(cls, block: Any) -> bool:
        return False  # mixed rotary embeddings are indexed by the block's position

    def run(
        self,
        x: Tensor,
        rows: tuple[Rows | None, ...],
        rope: Tensor | None = None,
        attn_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        rope, mask = of_rows(rope, rows[0]), of_rows(attn_mask, rows[0])

        def attend(h: Tensor) -> Tensor:
            h = self.attn(self.norm1(h), rope=rope, attn_mask=mask, is_causal=is_causal)
            return scaled(self.gamma_1, h)

        y = self.residual(x, attend, rows[0])
        return self.residual(y, lambda h: scaled(self.gamma_2, self.mlp(self.norm2(h))), rows[1])


class EVAPostNormBlock(Twin, EvaBlockPostNorm):
    """Twin of the post-normalised block: the norm comes last in the branch."""

    branches = (("attn", "norm1"), ("mlp", "norm2"))
    timm_class = EvaBlockPostNorm

    @classmethod
    def vanishes(cls, block: Any) -> bool:
        return False

    def run(
        self,
        x: Tensor,
        rows: tuple[Rows | None, ...],
        rope: Tensor | None = None,
        attn_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        rope, mask = of_rows(rope, rows[0]), of_rows(attn_mask, rows[0])
        y = self.residual(
            x, lambda h: self.norm1(self.attn(h, rope=rope, attn_mask=mask, is_causal=is_causal)), rows[0]
        )
        return self.residual(y, lambda h: self.norm2(self.mlp(h)), rows[1])
