"""The residual operation: `x[keep] += scale * branch(x[keep])`, and its masked counterpart that tests it."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from cosub.submodel import Rows


def residual(
    x: Float[Tensor, "R *rest"], branch: Callable[[Tensor], Tensor], rows: Rows | None
) -> Float[Tensor, "R *rest"]:
    """Gather the kept rows, run the branch on them alone, add the scaled result (paper, section 4, figure 3).

    `rows` is None for the full network: every row, factor 1, exactly as timm adds it. A layer that keeps no row
    is skipped altogether. Rows that are not kept cost no compute and save no activation.
    """
    if rows is None:
        return x + branch(x)
    if rows.kept == 0:
        return x
    if rows.keep is None:
        return x + (branch(x) if rows.scale == 1 else rows.scale * branch(x))
    added = branch(x.index_select(0, rows.keep))
    # Under autocast the branch may answer in a lower precision than x, or a higher one.
    dtype = torch.promote_types(x.dtype, added.dtype)
    return x.to(dtype).index_add(0, rows.keep, added.to(dtype), alpha=rows.scale)


def masked_residual(
    x: Float[Tensor, "R *rest"], branch: Callable[[Tensor], Tensor], mask: Float[Tensor, "R"]
) -> Float[Tensor, "R *rest"]:
    """The same by the obvious means: run the branch on every row and multiply what is dropped by zero.

    `mask` is one row of `Submodel.mask()`. This is what stochastic depth costs in timm.
    """
    return x + mask.to(x.dtype).view(-1, *[1] * (x.dim() - 1)) * branch(x)
