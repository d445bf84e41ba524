"""ViT and DINOv2 of the package transformers, which only this module imports, and only for a model of that package.

Its layers checkpoint around their own forward. A twin checkpoints with its rows bound, as all twins do, where its
`gradient_checkpointing` is set; transformers sets it layer by layer.
"""

from typing import Any

from torch import Tensor, nn
from transformers.models.dinov2.modeling_dinov2 import Dinov2Layer
from transformers.models.vit.modeling_vit import ViTLayer

from cosub.choices import Checkpointing
from cosub.submodel import Rows
from cosub.twins.twin import Twin


class _Layer(Twin):
    """Two residual layers, attention and MLP; tokens are `(R, N, D)`. Any implementation of attention works."""

    attention: Any
    mlp: Any
    gradient_checkpointing: bool

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.forward = Twin.forward  # transformers has just wrapped it: rows would be drawn again in backward
        # Accelerate looks for layers by the names in `_no_split_modules`; pickle goes by `__qualname__`, which stays.
        cls.__name__ = cls.timm_class.__name__

    @classmethod
    def layers_of(cls, block: Any) -> int:
        ends = getattr(block, "mlp", None)
        if not hasattr(block.attention, "o_proj") or not (hasattr(ends, "fc2") or hasattr(ends, "down_proj")):
            raise ValueError(
                f"{type(block).__name__} of this version of transformers has no twin: "
                "pip install --upgrade transformers (5.23 works)"
            )
        return len(cls.branches)

    @property
    def checkpointing(self) -> Checkpointing:
        return "blocks" if self.gradient_checkpointing else self.cosub.state.checkpointing


class ViTTwin(_Layer, ViTLayer):
    """Twin of ViT's layer."""

    branches = (("layernorm_before", "attention"), ("layernorm_after", "mlp"))
    timm_class = ViTLayer

    def run(
        self, x: Tensor, rows: tuple[Rows | None, ...], attention_mask: Tensor | None = None, **kwargs: Any
    ) -> Tensor:
        mask = _mask_of(attention_mask, rows[0])
        y = self.residual(
            x, lambda h: self.dropout(self.attention(self.layernorm_before(h), mask, **kwargs)[0]), rows[0]
        )
        return self.residual(y, lambda h: self.dropout(self.mlp(self.layernorm_after(h))), rows[1])


class Dinov2Twin(_Layer, Dinov2Layer):
    """Twin of DINOv2's layer, with LayerScale."""

    branches = (("norm1", "attention", "layer_scale1"), ("norm2", "mlp", "layer_scale2"))
    timm_class = Dinov2Layer

    def run(
        self, x: Tensor, rows: tuple[Rows | None, ...], attention_mask: Tensor | None = None, **kwargs: Any
    ) -> Tensor:
        mask = _mask_of(attention_mask, rows[0])

        def attend(h: Tensor) -> Tensor:
            return self.layer_scale1(self.attention(self.norm1(h), mask, **kwargs)[0])

        y = self.residual(x, attend, rows[0])
        return self.residual(y, lambda h: self.layer_scale2(self.mlp(self.norm2(h))), rows[1])


def _mask_of(mask: Any, rows: Rows | None) -> Any:
    """The mask of the kept rows: those of transformers have a batch dimension, where they are tensors."""
    if mask is None or rows is None:
        return mask
    if not isinstance(mask, Tensor):
        raise ValueError(f"attention_mask: {type(mask).__name__}: cannot be gathered by row; use attention sdpa")
    return rows.take(mask)


TRANSFORMERS_TWINS: dict[type[nn.Module], type[Twin]] = {twin.timm_class: twin for twin in (ViTTwin, Dinov2Twin)}
