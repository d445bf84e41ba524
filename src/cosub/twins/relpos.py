"""ViT with relative positions: two residual layers per block; all rows share the bias, where blocks share one."""

from timm.models.vision_transformer_relpos import RelPosBlock, ResPostRelPosBlock
from torch import Tensor

from cosub.submodel import Rows
from cosub.twins.twin import Twin


class RelPosTwin(Twin, RelPosBlock):
    """Twin of the pre-normalised block; tokens are `(R, N, D)`."""

    branches = (("norm1", "attn", "ls1"), ("norm2", "mlp", "ls2"))
    timm_class = RelPosBlock

    def run(self, x: Tensor, rows: tuple[Rows | None, ...], shared_rel_pos: Tensor | None = None) -> Tensor:
        y = self.residual(x, lambda h: self.ls1(self.attn(self.norm1(h), shared_rel_pos=shared_rel_pos)), rows[0])
        return self.residual(y, lambda h: self.ls2(self.mlp(self.norm2(h))), rows[1])


class ResPostRelPosTwin(Twin, ResPostRelPosBlock):
    """Twin of the post-normalised block: the norm comes last in the branch."""

    branches = (("attn", "norm1"), ("mlp", "norm2"))
    timm_class = ResPostRelPosBlock

    def run(self, x: Tensor, rows: tuple[Rows | None, ...], shared_rel_pos: Tensor | None = None) -> Tensor:
        y = self.residual(x, lambda h: self.norm1(self.attn(h, shared_rel_pos=shared_rel_pos)), rows[0])
        return self.residual(y, lambda h: self.norm2(self.mlp(h)), rows[1])
