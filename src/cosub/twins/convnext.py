"""ConvNeXt and ConvNeXt V2: one residual layer per block, on maps `(R, C, H, W)`."""

from timm.models.convnext import ConvNeXtBlock
from torch import Tensor

from cosub.twins.sequence import Sequence
from cosub.twins.twin import scaled


class ConvNeXtTwin(Sequence, ConvNeXtBlock):
    """Twin of ConvNeXt's block, whose shortcut may change the shape."""

    branches = (("conv_dw", "norm", "mlp", "gamma"),)
    around = ("shortcut", "")
    timm_class = ConvNeXtBlock

    def branch(self, h: Tensor) -> Tensor:
        h = self.conv_dw(h)
        if self.use_conv_mlp:
            h = self.mlp(self.norm(h))
            return h if self.gamma is None else self.gamma.reshape(1, -1, 1, 1) * h
        h = self.mlp(self.norm(h.permute(0, 2, 3, 1)))
        return scaled(self.gamma, h).permute(0, 3, 1, 2)
