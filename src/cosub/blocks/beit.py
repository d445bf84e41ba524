"""BEiT: two residual layers a block, the factors of LayerScale held by the block or absent."""

from timm.layers.mlp import Mlp
from timm.models.beit import Attention, Block
from torch import Tensor

from cosub.blocks.folding import factor, fold_factor, fold_norm
from cosub.blocks.twin import Twin
from cosub.submodel import Rows


class BEiTBlock(Twin, Block):
    """Twin of BEiT's block; tokens are `(R, N, D)`. The bias of relative positions is the same for all rows."""

    layers = 2
    branches = (("norm1", "attn", "gamma_1"), ("norm2", "mlp", "gamma_2"))
    timm_class = Block

    def run(self, x: Tensor, rows: tuple[Rows | None, ...], shared_rel_pos_bias: Tensor | None = None) -> Tensor:
        def attend(h: Tensor) -> Tensor:
            h = self.attn(self.norm1(h), shared_rel_pos_bias=shared_rel_pos_bias)
            return factor(self.gamma_1, self.attn.proj, h)

        y = self.residual(x, attend, rows[0])
        return self.residual(
            y, lambda h: factor(self.gamma_2, self.mlp.fc2, self.mlp(self.norm2(h))), rows[1], owned=self.owns(y, x)
        )

    def fold(self) -> None:
        # Its attention reads the weights of qkv without calling it, so norm1 stays.
        if type(self.attn) is Attention:
            fold_factor(self, self.attn.proj, "gamma_1")
        if type(self.mlp) is Mlp:
            fold_norm(self, self.norm2, self.mlp.fc1)
            fold_factor(self, self.mlp.fc2, "gamma_2")
