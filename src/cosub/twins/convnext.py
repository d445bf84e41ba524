"""ConvNeXt and ConvNeXt V2: one residual layer per block, on maps `(R, C, H, W)`."""

from timm.models.convnext import ConvNeXtBlock
from torch import Tensor, nn

from cosub.submodel import Rows
from cosub.twins.twin import Twin, scaled


class ConvNeXtTwin(Twin, ConvNeXtBlock):
    """Twin of ConvNeXt's block, whose shortcut may change the shape."""

    layers = 1
    branches = (("conv_dw", "norm", "mlp", "gamma"),)
    around = ("shortcut",)
    timm_class = ConvNeXtBlock

    def run(self, x: Tensor, rows: tuple[Rows | None, ...]) -> Tensor:
        around = None if isinstance(self.shortcut, nn.Identity) else self.shortcut(x)
        return self.residual(x, self._branch, rows[0], shortcut=around)

    def _branch(self, h: Tensor) -> Tensor:
        h = self.conv_dw(h)
        if self.use_conv_mlp:
            h = self.mlp(self.norm(h))
            return h if self.gamma is None else self.gamma.reshape(1, -1, 1, 1) * h
        h = self.mlp(self.norm(h.permute(0, 2, 3, 1)))
        return scaled(self.gamma, h).permute(0, 3, 1, 2)
