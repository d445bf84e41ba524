"""ViT, DeiT, DeiT-III and PiT: two residual layers a block, attention and MLP."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from timm.layers.attention import Attention
from timm.layers.mlp import Mlp
from timm.models.pit import Transformer
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor

from cosub.blocks.folding import fold_norm, fold_scale
from cosub.blocks.twin import Host, Twin
from cosub.submodel import Rows


class ViTBlock(Twin, Block):
    """Twin of timm's pre-normalised `Block`; tokens are `(R, N, D)`."""

    num_layers = 2
    timm_class = Block

    def run(
        self,
        x: Tensor,
        rows: tuple[Rows | None, ...],
        attn_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        mask = _mask_of(attn_mask, rows[0])
        y = self.residual(x, lambda h: self.ls1(self.attn(self.norm1(h), attn_mask=mask, is_causal=is_causal)), rows[0])
        return self.residual(y, lambda h: self.ls2(self.mlp(self.norm2(h))), rows[1], owned=self.owns(y, x))

    def fold(self) -> None:
        attention, mlp = self.attn, self.mlp
        if type(attention) is Attention and attention.gate is None:
            fold_norm(self, self.norm1, attention.qkv)
            fold_scale(self, attention.proj, self.ls1)
        if type(mlp) is Mlp:
            fold_norm(self, self.norm2, mlp.fc1)
            fold_scale(self, mlp.fc2, self.ls2)


def _mask_of(attn_mask: Tensor | None, rows: Rows | None) -> Tensor | None:
    """A mask with a batch dimension `(B, heads or 1, N, N)` follows its rows; others are shared by all."""
    if attn_mask is None or rows is None or attn_mask.dim() < 4:
        return attn_mask
    return rows.take(attn_mask)


class PiTStage(Twin, Transformer):
    """A stage of PiT reads the number of rows before its blocks run, so copies are made at the stage."""

    num_layers = 0
    timm_class = Transformer

    def forward(self, x: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        if self.cosub.door:
            images, class_tokens = x
            repeats = self.cosub.state.repeats(images.shape[0], self.training)
            x = self.cosub.state.open(images, self.training), class_tokens.repeat(repeats, 1, 1)
        return Transformer.forward(self, x)


class ViTHost(Host, VisionTransformer):
    """timm folds tokens into maps with the number of images read at entry; with copies there are more rows."""

    def forward_intermediates(self, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        plain = super().forward_intermediates
        call = inspect.signature(plain).bind(x, *args, **kwargs)
        call.apply_defaults()
        repeats = self.cosub.state.repeats(x.shape[0], self.training)
        if repeats == 1 or call.arguments["output_fmt"] != "NCHW":
            return plain(x, *args, **kwargs)
        height, width = self.patch_embed.dynamic_feat_size((x.shape[2], x.shape[3]))
        call.arguments["output_fmt"] = "NLC"
        return _fold(plain(*call.args, **call.kwargs), lambda tokens: _map_of(tokens, height, width))


def _map_of(tokens: Tensor, height: int, width: int) -> Tensor:
    """(R, H*W, D) -> (R, D, H, W)"""
    return tokens.transpose(1, 2).unflatten(2, (height, width)).contiguous()


def _fold(result: Any, to_map: Callable[[Tensor], Tensor]) -> Any:
    """Apply `to_map` to the intermediates inside any of the forms in which timm returns them."""
    if isinstance(result, Mapping):
        return {**result, "image_intermediates": [to_map(tokens) for tokens in result["image_intermediates"]]}
    if isinstance(result, tuple):
        final, intermediates = result
        return final, _fold(intermediates, to_map)
    return [(to_map(item[0]), item[1]) if isinstance(item, tuple) else to_map(item) for item in result]
