"""ViT, DeiT, DeiT-III, MAE's ViT, DINOv2 and PiT: two residual layers per block, attention and MLP."""

from timm.models.pit import Transformer
from timm.models.vision_transformer import Block
from torch import Tensor

from cosub.submodel import Rows
from cosub.twins.twin import Twin


class ViTBlock(Twin, Block):
    """Twin of timm's pre-normalised `Block`; tokens are `(R, N, D)`."""

    branches = (("norm1", "attn", "ls1"), ("norm2", "mlp", "ls2"))
    timm_class = Block

    def run(
        self,
        x: Tensor,
        rows: tuple[Rows | None, ...],
        attn_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        mask = of_rows(attn_mask, rows[0])
        y = self.residual(x, lambda h: self.ls1(self.attn(self.norm1(h), attn_mask=mask, is_causal=is_causal)), rows[0])
        return self.residual(y, lambda h: self.ls2(self.mlp(self.norm2(h))), rows[1])


def of_rows(given: Tensor | None, rows: Rows | None) -> Tensor | None:
    """The kept rows' part of a mask or rotary embedding `(B, heads or 1, N, *)`; all rows share others."""
    if given is None or rows is None or given.dim() < 4:
        return given
    return rows.take(given)


class PiTStage(Twin, Transformer):
    """A stage of PiT reads the number of rows before its blocks run, so copies are made at its input."""

    branches = ()
    timm_class = Transformer

    def forward(self, x: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        if self.cosub.replicates:
            images, class_tokens = x
            repeats = self.cosub.state.repeats(images.shape[0], self)
            x = self.cosub.state.begin(images, self), class_tokens.repeat(repeats, 1, 1)
        return Transformer.forward(self, x)
