"""ByobNet and CSPNet: one residual layer per block, on maps `(R, C, H, W)`.

Shortcuts, which may change the shape, and the activation after the addition run on all rows. A block of ByobNet without
a shortcut has no residual layer and is left as it is.
"""

from typing import Any

from timm.models import byobnet, cspnet
from torch import Tensor

from cosub.twins.sequence import Sequence
from cosub.twins.twin import Twin


class _Byob(Sequence):
    around = ("shortcut", "act")

    @classmethod
    def layers_of(cls, block: Any) -> int:
        return int(block.shortcut is not None)


class ByobBasic(_Byob, byobnet.BasicBlock):
    """Twin of two k x k convolutions."""

    branches = (("conv1_kxk", "attn", "conv2_kxk", "attn_last"),)
    timm_class = byobnet.BasicBlock


class ByobBottleneck(_Byob, byobnet.BottleneckBlock):
    """Twin of 1 x 1, k x k once or twice, 1 x 1."""

    branches = (("conv1_1x1", "conv2_kxk", "conv2b_kxk", "attn", "conv3_1x1", "attn_last"),)
    timm_class = byobnet.BottleneckBlock


class ByobDark(_Byob, byobnet.DarkBlock):
    """Twin of 1 x 1, k x k."""

    branches = (("conv1_1x1", "attn", "conv2_kxk", "attn_last"),)
    timm_class = byobnet.DarkBlock


class ByobEdge(_Byob, byobnet.EdgeBlock):
    """Twin of k x k, 1 x 1."""

    branches = (("conv1_kxk", "attn", "conv2_1x1", "attn_last"),)
    timm_class = byobnet.EdgeBlock


class ByobAttention(_Byob, byobnet.SelfAttnBlock):
    """Twin of a bottleneck around self-attention."""

    branches = (("conv1_1x1", "conv2_kxk", "self_attn", "post_attn", "conv3_1x1"),)
    timm_class = byobnet.SelfAttnBlock


class CSPBottleneck(Sequence, cspnet.BottleneckBlock):
    """Twin of CSPNet's bottleneck."""

    branches = (("conv1", "conv2", "attn2", "conv3", "attn3"),)
    around = ("", "act3")
    timm_class = cspnet.BottleneckBlock


class CSPDark(Sequence, cspnet.DarkBlock):
    """Twin of 1 x 1, k x k."""

    branches = (("conv1", "attn", "conv2"),)
    timm_class = cspnet.DarkBlock


class CSPEdge(Sequence, cspnet.EdgeBlock):
    """Twin of k x k, 1 x 1."""

    branches = (("conv1", "attn", "conv2"),)
    timm_class = cspnet.EdgeBlock


class _CrossStage(Twin):
    """A stage splits its channels before its blocks run, so copies are made at the stage."""

    branches = ()

    def forward(self, x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        if self.cosub.replicates:
            x = self.cosub.state.begin(x, self)
        return self.timm_class.forward(self, x)


class CSPStage(_CrossStage, cspnet.CrossStage):
    timm_class = cspnet.CrossStage


class CSPStage3(_CrossStage, cspnet.CrossStage3):
    timm_class = cspnet.CrossStage3
