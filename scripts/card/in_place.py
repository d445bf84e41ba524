"""An experiment: rows added in place by a Triton kernel, without atomics, because no row occurs twice.

Inductor knows nothing of that, and adds the rows of `index_add` atomically. But it fuses what is added into its own
kernel, and cannot with this one.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

PART = 1024  # values of a row that one program adds


@triton.jit
def kernel(stream, added, keep, scale, width, part: tl.constexpr):  # Triton refuses annotations of any other kind
    row = tl.program_id(0)
    at = tl.program_id(1) * part + tl.arange(0, part)
    inside = at < width
    to = stream + tl.load(keep + row).to(tl.int64) * width + at
    more = tl.load(added + row.to(tl.int64) * width + at, inside).to(tl.float32)
    tl.store(to, (tl.load(to, inside).to(tl.float32) + scale * more).to(stream.dtype.element_ty), inside)


@torch.library.custom_op("card::add_rows", mutates_args={"stream"})
def _add_rows(stream: Tensor, added: Tensor, keep: Tensor, scale: float) -> None:
    width = stream[0].numel()
    grid = len(keep), triton.cdiv(width, PART)
    kernel[grid](stream, added, keep, scale, width, PART)  # pyright: ignore[reportIndexIssue]


def in_place(x: Tensor, added: Tensor, keep: Tensor, scale: float) -> Tensor:
    """`x` with `scale * added` added to the rows `keep`, which are all different."""
    x = x.clone(memory_format=torch.contiguous_format)
    _add_rows(x, added.contiguous(), keep, scale)
    return x
