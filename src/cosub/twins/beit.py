"""BEiT: two residual layers per block, with LayerScale factors held by the block, or none."""

from timm.models.beit import Block
from torch import Tensor

from cosub.submodel import Rows
from cosub.twins.twin import Twin, scaled


class BEiTBlock(Twin, Block):
    """Twin of BEiT's block; tokens are `(R, N, D)`. All rows share the relative position bias."""

    branches = (("norm1", "attn", "gamma_1"), ("norm2", "mlp", "gamma_2"))
    timm_class = Block

    def run(self, x: Tensor, rows: tuple[Rows | None, ...], shared_rel_pos_bias: Tensor | None = None) -> Tensor:
        def attend(h: Tensor) -> Tensor:
            h = self.attn(self.norm1(h), shared_rel_pos_bias=shared_rel_pos_bias)
            return scaled(self.gamma_1, h)

        y = self.residual(x, attend, rows[0])
        return self.residual(y, lambda h: scaled(self.gamma_2, self.mlp(self.norm2(h))), rows[1])
