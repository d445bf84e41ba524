"""An experiment: the residual stream in the order of the last layer's permutation, so that no addition is atomic.

A layer gathers all rows by a new permutation, whose backward is the inverse. Its kept rows are then a slice, and the
addition is a `cat`. Equal in distribution to `index_add`, with which it is compared.
"""

from typing import Any

import torch
from torch import Tensor, nn

from cosub.twins.compilation import lean


class _Permute(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
        ctx.save_for_backward(inverse)
        return x.index_select(0, order)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return grads[0].index_select(0, ctx.saved_tensors[0]), None, None


def _block(block: Any, x: Tensor, orders: tuple[Tensor, ...], inverses: tuple[Tensor, ...], kept: int) -> Tensor:
    scale = len(x) / kept
    for index, branch in enumerate((_attention, _mlp)):
        x = _Permute.apply(x, orders[index], inverses[index])  # pyright: ignore[reportAssignmentType]
        rows = x[:kept]
        x = torch.cat([rows + scale * branch(block, rows), x[kept:]])
    return x


def _attention(block: Any, x: Tensor) -> Tensor:
    return block.ls1(block.attn(block.norm1(x)))


def _mlp(block: Any, x: Tensor) -> Tensor:
    return block.ls2(block.mlp(block.norm2(x)))


class Permuted(nn.Module):
    """A ViT of timm, with two copies of each image, at one rate."""

    def __init__(self, model: Any, rate: float, backend: str) -> None:
        super().__init__()
        self.model, self.rate = model, rate
        self.block = torch.compile(_block, dynamic=False, backend=lean(backend))

    def forward(self, x: Tensor) -> Tensor:
        model: Any = self.model
        x = model.norm_pre(model.patch_drop(model._pos_embed(model.patch_embed(x)))).repeat(2, 1, 1)
        rows, layers = len(x), 2 * len(model.blocks)
        orders = torch.rand(layers, rows).argsort(1)
        total = torch.arange(rows)
        for order in orders:
            total = total[order]
        back = total.argsort().to(x.device, non_blocking=True)
        orders = orders.to(x.device, non_blocking=True)
        inverses = orders.argsort(1)
        kept = round(rows * (1 - self.rate))
        for index, block in enumerate(model.blocks):
            layer = slice(2 * index, 2 * index + 2)
            x = self.block(block, x, orders[layer].unbind(), inverses[layer].unbind(), kept)
        return model.forward_head(model.norm(x[back]))
