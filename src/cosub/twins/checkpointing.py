"""Gradient checkpointing of one block: what backward needs is computed again, instead of stored."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts

_ATEN = torch.ops.aten
_PRODUCTS: list[Any] = [
    _ATEN.mm.default,
    _ATEN.addmm.default,
    _ATEN.bmm.default,
    _ATEN._scaled_dot_product_flash_attention.default,
    _ATEN._scaled_dot_product_efficient_attention.default,
    _ATEN._scaled_dot_product_cudnn_attention.default,
    _ATEN._scaled_dot_product_flash_attention_for_cpu.default,
]

Contexts = tuple[AbstractContextManager[Any], AbstractContextManager[Any]]


def recompute(block: nn.Module, way: Literal["blocks", "selective"], run: Callable[..., Tensor], *args: Any) -> Tensor:
    """`run(*args)`, stored in part.

    "blocks" stores what comes into the block. "selective" also stores matrix products and attention, so that only what
    is cheap is computed again. Running statistics of batch norms move once.
    """

    def contexts() -> Contexts:
        forward, again = _selective() if way == "selective" else (nullcontext(), nullcontext())
        return forward, _held(block, again)

    if torch.compiler.is_compiling():  # Dynamo takes no other contexts, and runs updates of buffers in forward alone
        given = {"context_fn": _selective} if way == "selective" else {}
    else:
        given = {"context_fn": contexts}
    return checkpoint(run, *args, use_reentrant=False, **given)  # pyright: ignore[reportArgumentType, reportCallIssue]


def _selective() -> Contexts:
    return create_selective_checkpoint_contexts(_PRODUCTS)


@contextmanager
def _held(block: nn.Module, inner: AbstractContextManager[Any]) -> Iterator[None]:
    """Batch norms take the statistics of the batch and leave the running ones where they are."""
    norms = [norm for norm in block.modules() if isinstance(norm, _BatchNorm) and norm.training]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        with inner:
            yield
    finally:
        for norm, (momentum, batches) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, batches
