"""The residual operation: `x[keep] += scale * branch(x[keep])`. Three ways, one meaning.

`residual` is the one that is used, `plain_residual` its reference in the obvious words of PyTorch, `masked_residual`
what stochastic depth costs elsewhere. The first two differ in what they save for backward and in how many passes over
`x` backward makes; kept rows are distinct, so nothing needs an atomic addition.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from cosub.submodel import Rows

Branch = Callable[[Tensor], Tensor]


def residual(
    x: Float[Tensor, "R *rest"],
    branch: Branch,
    rows: Rows | None,
    owned: bool = False,
    shortcut: Float[Tensor, "R *new"] | None = None,
) -> Float[Tensor, "R *new"]:
    """Gather the kept rows, run the branch on them alone, add the scaled result (paper, section 4, figure 3).

    `rows` is None for the full network: every row, factor 1, exactly as timm adds it. A layer that keeps no row is
    skipped altogether. Rows that are not kept cost no compute and save no activation; of the addition nothing is
    saved but the index.

    Args:
        x: the residual stream, one row a copy of an image.
        branch: from the kept rows to what is added to them, same shape.
        rows: the kept rows and their factor.
        owned: nobody else holds `x`, so it may be written to. A promise of the caller's: the output of an earlier
            call in the same block is owned, the input of a block is not.
        shortcut: what `x` has become on the way around a branch that changes its shape, for all rows; else `x` itself.
    """
    if rows is None or rows.keep is None or torch.compiler.is_compiling():
        # A compiler decides for itself what it saves; an in-place function compiled a block at a time was seen to
        # give right logits and wrong gradients.
        return plain_residual(x, branch, rows, shortcut=shortcut)
    if shortcut is not None:
        return _add(shortcut, branch(x.index_select(0, rows.keep)), rows, None, False)
    passed: list[Tensor] = []
    added = branch(_Gather.apply(x, rows.keep, passed))  # pyright: ignore[reportArgumentType]
    assert added.requires_grad >= x.requires_grad, "a branch must pass gradients to the rows that it is given"
    return _add(x, added, rows, passed, owned)


def plain_residual(
    x: Float[Tensor, "R *rest"],
    branch: Branch,
    rows: Rows | None,
    owned: bool = False,
    shortcut: Float[Tensor, "R *new"] | None = None,
) -> Float[Tensor, "R *new"]:
    """The same with `index_select` and `index_add`, as public code writes it. Never writes to `x`."""
    around = x if shortcut is None else shortcut
    if rows is None:
        return around + branch(x)
    if rows.kept == 0:
        return around
    if rows.keep is None:
        return around + (branch(x) if rows.scale == 1 else rows.scale * branch(x))
    added = branch(x.index_select(0, rows.keep))
    dtype = _wider(around, added)
    return around.to(dtype).index_add(0, rows.keep, added.to(dtype), alpha=rows.scale)


def masked_residual(x: Float[Tensor, "R *rest"], branch: Branch, mask: Float[Tensor, "R"]) -> Float[Tensor, "R *rest"]:
    """The same by the obvious means: run the branch on every row and multiply what is dropped by zero.

    `mask` is one row of `Submodel.mask()`. This is what stochastic depth costs in timm.
    """
    return x + mask.to(x.dtype).view(-1, *[1] * (x.dim() - 1)) * branch(x)


def _wider(x: Tensor, added: Tensor) -> torch.dtype:
    """Under autocast a branch may answer in a lower precision than `x`, or a higher one."""
    return torch.promote_types(x.dtype, added.dtype)


def _add(x: Tensor, added: Tensor, rows: Rows, passed: list[Tensor] | None, owned: bool) -> Tensor:
    dtype = _wider(x, added)
    wide = x.to(dtype)
    owned = owned or wide is not x
    return _Add.apply(wide, added.to(dtype), rows.keep, rows.scale, passed, owned)  # pyright: ignore[reportReturnType]


class _Gather(torch.autograd.Function):
    """`x[keep]`. Its backward receives, beside the branch's gradient, the one that `_Add` passed around the branch.

    Autograd on its own would scatter into a tensor of zeros and then add: two more passes over all rows.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, keep: Tensor, passed: list[Tensor]) -> Tensor:
        ctx.save_for_backward(keep)
        ctx.passed = passed
        return x.index_select(0, keep)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (keep,) = ctx.saved_tensors
        around = ctx.passed.pop()
        return around.index_add(0, keep, gradient.to(around.dtype)), None, None


class _Add(torch.autograd.Function):
    """`x` with `scale * added` added to its kept rows. Saves the index alone.

    The gradient of `x` goes to the gather of the same layer, if there is one: it adds the branch's to it.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, added: Tensor, keep: Tensor, scale: float, passed: list[Tensor] | None, owned: bool
    ) -> Tensor:
        ctx.save_for_backward(keep)
        ctx.scale, ctx.passed = scale, passed
        if owned:
            ctx.mark_dirty(x)
            return x.index_add_(0, keep, added, alpha=scale)
        return x.index_add(0, keep, added, alpha=scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (keep,) = ctx.saved_tensors
        rows = gradient.index_select(0, keep).mul_(ctx.scale)
        if ctx.passed is None:
            return gradient, rows, None, None, None, None
        if ctx.needs_input_grad[0]:
            ctx.passed.append(gradient)
        return None, rows, None, None, None, None
