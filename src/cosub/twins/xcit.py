"""XCiT: three residual layers per block, cross-covariance attention, local patch interaction, MLP.

Class attention is never dropped. The local patch interaction has a BatchNorm, which sees the kept rows alone.
"""

from timm.models.xcit import XCABlock
from torch import Tensor

from cosub.submodel import Rows
from cosub.twins.twin import Twin


class XCiTBlock(Twin, XCABlock):
    """Twin of XCiT's block; tokens are `(R, N, D)`, where `N = H * W`."""

    branches = (("norm1", "attn", "gamma1"), ("norm3", "local_mp", "gamma3"), ("norm2", "mlp", "gamma2"))
    timm_class = XCABlock

    def run(self, x: Tensor, rows: tuple[Rows | None, ...], H: int, W: int) -> Tensor:  # noqa: N803, timm's names
        y = self.residual(x, lambda h: self.gamma1 * self.attn(self.norm1(h)), rows[0])
        # In timm's order norm3 and gamma3 come second.
        z = self.residual(y, lambda h: self.gamma3 * self.local_mp(self.norm3(h), H, W), rows[1])
        return self.residual(z, lambda h: self.gamma2 * self.mlp(self.norm2(h)), rows[2])
