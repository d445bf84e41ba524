"""Efficient stochastic depth of one residual layer: `x[keep] += scale * branch(x[keep])` (section 4, figure 3).

`residual` is the fast one. `plain_residual` is its reference, by `index_select` and `index_add`: the two differ in how
many passes over `x` backward makes. `masked_residual` computes all rows and multiplies by a mask, as timm does; it is
what both do with rows that are masked.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from cosub.submodel import Rows

Branch = Callable[[Tensor], Tensor]


def residual(
    x: Float[Tensor, "R *rest"],
    branch: Branch,
    rows: Rows | None,
    shortcut: Float[Tensor, "R *new"] | None = None,
) -> Float[Tensor, "R *new"]:
    """Gather the kept rows, run the branch on them alone, add the scaled result (paper, section 4, figure 3).

    `rows` is None for the full network: every row, factor 1, exactly as timm adds it. A layer that keeps no row is
    skipped altogether. Rows that are not kept cost no compute and store no activation; the operation itself stores
    the index alone, except where autograd or a compiler does without the functions below.

    Args:
        x: the residual stream, one row per copy of an image.
        branch: from the kept rows to what is added to them, same shape.
        rows: the kept rows and their factor.
        shortcut: what the branch is added to, for all rows, where the branch changes the shape; by default `x`.
    """
    if rows is None or rows.keep is None or rows.masked or transformed() or _exported():
        return plain_residual(x, branch, rows, shortcut)
    if shortcut is None:
        around, kept = _Gather.apply(x, rows.keep)  # pyright: ignore[reportGeneralTypeIssues]
    else:
        around, kept = shortcut, x.index_select(0, rows.keep)
    around, added = _same_type(around, branch(kept))
    if torch.compiler.is_compiling():  # which stores no more; torch 2.15 loses a symbolic factor in `_Add`
        return around.index_add(0, rows.keep, added, alpha=rows.scale)
    return _Add.apply(around, added, rows.keep, rows.scale)  # pyright: ignore[reportReturnType]


def plain_residual(
    x: Float[Tensor, "R *rest"],
    branch: Branch,
    rows: Rows | None,
    shortcut: Float[Tensor, "R *new"] | None = None,
) -> Float[Tensor, "R *new"]:
    """The reference, by `index_select` and `index_add`."""
    around = x if shortcut is None else shortcut
    if rows is None:
        return around + branch(x)
    if rows.keep is None and rows.kept == 0:
        return around
    if rows.keep is None:
        return around + (branch(x) if rows.scale == 1 else rows.scale * branch(x))
    if rows.masked:
        dtype = torch.promote_types(x.dtype, torch.float32)
        mask = torch.zeros(rows.total, dtype=dtype, device=x.device).index_fill(0, rows.keep, rows.scale)
        return masked_residual(x, branch, mask, shortcut)
    around, added = _same_type(around, branch(x.index_select(0, rows.keep)))
    return around.index_add(0, rows.keep, added, alpha=rows.scale)


def masked_residual(
    x: Float[Tensor, "R *rest"],
    branch: Branch,
    mask: Float[Tensor, "R"],
    shortcut: Float[Tensor, "R *new"] | None = None,
) -> Float[Tensor, "R *new"]:
    """Run the branch on every row and multiply dropped rows by zero, as timm does: this saves no compute and no memory.

    `mask` is one row of `Submodel.mask()`.
    """
    added = branch(x)
    return (x if shortcut is None else shortcut) + mask.to(added.dtype).view(-1, *[1] * (added.dim() - 1)) * added


def transformed() -> bool:
    """Whether `torch.func` or forward-mode differentiation is at work, for which `residual` leaves all to autograd.

    A function with rules for these costs three times as much of the host's time in every call.
    """
    return torch.autograd.forward_ad._current_level >= 0 or torch._C._are_functorch_transforms_active()


def _exported() -> bool:
    """Whether a graph is made to be kept. torch.export would keep a function's forward alone, and TorchScript neither.

    `torch.compiler.is_exporting()` is true under torch.compile too, in torch 2.11.
    """
    if torch.compiler.is_compiling():
        return torch.compiler._is_exporting_flag
    return torch._C._get_tracing_state() is not None  # pyright: ignore[reportAttributeAccessIssue]


def _same_type(around: Tensor, added: Tensor) -> tuple[Tensor, Tensor]:
    """Promote both to one type, as `+` does: under autocast their types may differ."""
    if around.dtype is added.dtype:
        return around, added
    dtype = torch.promote_types(around.dtype, added.dtype)
    return around.to(dtype), added.to(dtype)


class _Gather(torch.autograd.Function):
    """`x, x[keep]`. Its backward adds the gradient of the kept rows to that of the shortcut.

    Autograd on its own would scatter the former into a tensor of zeros and then add the two: two more passes over all
    rows. Both paths are outputs, so any part of the graph may be missing, frozen or run twice.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(keep)
        ctx.rows = x.shape[0]
        ctx.set_materialize_grads(False)
        return x, x.index_select(0, keep)

    @staticmethod
    def backward(ctx: Any, around: Tensor | None, kept: Tensor | None) -> tuple[Tensor | None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        if kept is None:
            return around, None
        (keep,) = ctx.saved_tensors
        if around is None:
            around = kept.new_zeros(ctx.rows, *kept.shape[1:])
        return around.index_add(0, keep, kept), None


class _Add(torch.autograd.Function):
    """`x` with `scale * added` added to its kept rows. Stores the index alone; autograd on its own stores `added`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, added: Tensor, keep: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(keep)
        ctx.scale = scale
        return x.index_add(0, keep, added, alpha=scale)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (keep,) = ctx.saved_tensors
        added = gradient.index_select(0, keep) * ctx.scale if ctx.needs_input_grad[1] else None
        return gradient, added, None, None
