"""PatchConvNet: one residual layer per block, on maps `(R, D, H, W)`. The attention pooling is never dropped."""

from torch import Tensor

from cosub.architectures.patchconvnet import PatchConvBlock
from cosub.submodel import Rows
from cosub.twins.twin import Twin


class PatchConvTwin(Twin, PatchConvBlock):
    """Twin of PatchConvNet's block."""

    branches = (("norm1", "attn", "gamma_1"),)
    timm_class = PatchConvBlock

    def run(self, x: Tensor, rows: tuple[Rows | None, ...]) -> Tensor:
        return self.residual(x, lambda h: self.gamma_1.view(-1, 1, 1) * self.attn(self.norm1(h)), rows[0])
