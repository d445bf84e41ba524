"""CaiT: two residual layers per block, with LayerScale factors held by the block. Class attention is never dropped."""

from timm.models.cait import LayerScaleBlock
from torch import Tensor

from cosub.submodel import Rows
from cosub.twins.twin import Twin


class CaiTBlock(Twin, LayerScaleBlock):
    """Twin of CaiT's self-attention block; tokens are `(R, N, D)`."""

    branches = (("norm1", "attn", "gamma_1"), ("norm2", "mlp", "gamma_2"))
    timm_class = LayerScaleBlock

    def run(self, x: Tensor, rows: tuple[Rows | None, ...]) -> Tensor:
        y = self.residual(x, lambda h: self.gamma_1 * self.attn(self.norm1(h)), rows[0])
        return self.residual(y, lambda h: self.gamma_2 * self.mlp(self.norm2(h)), rows[1])
