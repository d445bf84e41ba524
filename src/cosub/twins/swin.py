"""Swin and Swin V2: two residual layers per block, windowed attention and MLP, on maps `(R, H, W, D)`."""

from timm.models.swin_transformer import SwinTransformerBlock
from timm.models.swin_transformer_v2 import SwinTransformerV2Block
from torch import Tensor

from cosub.submodel import Rows
from cosub.twins.twin import Twin


class SwinBlock(Twin, SwinTransformerBlock):
    """Twin of Swin's block. All rows share the masks of shifted windows."""

    branches = (("norm1", "attn"), ("norm2", "mlp"))
    timm_class = SwinTransformerBlock

    def run(self, x: Tensor, rows: tuple[Rows | None, ...]) -> Tensor:
        y = self.residual(x, lambda h: self._attn(self.norm1(h)), rows[0])
        # timm runs the MLP on (R, H * W, D); it works on the last dimension alone.
        return self.residual(y, lambda h: self.mlp(self.norm2(h)), rows[1])


class SwinV2Block(Twin, SwinTransformerV2Block):
    """Twin of Swin V2's block, which is post-normalised: the norm comes last in the branch."""

    branches = (("attn", "norm1"), ("mlp", "norm2"))
    timm_class = SwinTransformerV2Block

    def run(self, x: Tensor, rows: tuple[Rows | None, ...]) -> Tensor:
        y = self.residual(x, lambda h: self.norm1(self._attn(h)), rows[0])
        return self.residual(y, lambda h: self.norm2(self.mlp(h)), rows[1])
