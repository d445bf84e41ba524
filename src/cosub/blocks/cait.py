"""CaiT: two residual layers a block, the factors of LayerScale held by the block. Class attention is always kept."""

from timm.layers.mlp import Mlp
from timm.models.cait import LayerScaleBlock, TalkingHeadAttn
from torch import Tensor

from cosub.blocks.folding import factor, fold_factor, fold_norm
from cosub.blocks.twin import Twin
from cosub.submodel import Rows


class CaiTBlock(Twin, LayerScaleBlock):
    """Twin of CaiT's self-attention block; tokens are `(R, N, D)`."""

    layers = 2
    branches = (("norm1", "attn", "gamma_1"), ("norm2", "mlp", "gamma_2"))
    timm_class = LayerScaleBlock

    def run(self, x: Tensor, rows: tuple[Rows | None, ...]) -> Tensor:
        y = self.residual(x, lambda h: factor(self.gamma_1, self.attn.proj, self.attn(self.norm1(h))), rows[0])
        return self.residual(
            y,
            lambda h: factor(self.gamma_2, self.mlp.fc2, self.mlp(self.norm2(h))),
            rows[1],
            owned=self.owns(y, x),
        )

    def fold(self) -> None:
        if type(self.attn) is TalkingHeadAttn:
            fold_norm(self, self.norm1, self.attn.qkv)
            fold_factor(self, self.attn.proj, "gamma_1")
        if type(self.mlp) is Mlp:
            fold_norm(self, self.norm2, self.mlp.fc1)
            fold_factor(self, self.mlp.fc2, "gamma_2")
