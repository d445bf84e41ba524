"""An experiment: rows added in place by a Triton kernel, without atomics, because no row occurs twice.

Inductor knows nothing of that, and adds the rows of `index_add` atomically.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from cosub.residual import _Add, _Gather

_PART = 1024  # values of a row that one program adds


@triton.jit
def _kernel(stream: Any, added: Any, keep: Any, scale: Any, width: Any, part: tl.constexpr) -> None:
    row = tl.program_id(0)
    at = tl.program_id(1) * part + tl.arange(0, part)
    inside = at < width
    to = stream + tl.load(keep + row).to(tl.int64) * width + at
    more = tl.load(added + row.to(tl.int64) * width + at, inside).to(tl.float32)
    tl.store(to, (tl.load(to, inside).to(tl.float32) + scale * more).to(stream.dtype.element_ty), inside)


@torch.library.custom_op("card::add_rows", mutates_args={"stream"})
def add_rows(stream: Tensor, added: Tensor, keep: Tensor, scale: float) -> None:
    """`stream[keep] += scale * added`; both contiguous, and all of `keep` different."""
    width = stream[0].numel()
    grid = len(keep), triton.cdiv(width, _PART)
    _kernel[grid](stream, added, keep, scale, width, _PART)  # pyright: ignore[reportIndexIssue]


def _added(x: Tensor, added: Tensor, keep: Tensor, scale: float) -> Tensor:
    x = x.clone(memory_format=torch.contiguous_format)
    add_rows(x, added.contiguous(), keep, scale)
    return x


class Gather(_Gather):
    """The operation's, with the kernel in its backward."""

    @staticmethod
    def backward(ctx: Any, around: Tensor, kept: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return _added(around, kept, ctx.saved_tensors[0], 1.0), None


class Add(_Add):
    """The operation's, with the kernel in its forward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, added: Tensor, keep: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(keep)
        ctx.scale = scale
        return _added(x, added, keep, scale)
