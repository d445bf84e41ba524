"""Gradient checkpointing of one block: backward recomputes activations instead of reading stored ones."""

from collections.abc import Callable, MutableMapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.parametrizations import _SpectralNorm
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts

from cosub.choices import Checkpointing

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
    """`run(*args)` with fewer activations stored.

    "blocks" stores only the block's input. "selective" also stores the results of matrix products and attention, so
    that only cheap operations are recomputed. Running statistics are updated once. Backward uses the parameters of
    forward, also those that `torch.func.functional_call` put there.

    Raises:
        ValueError: for another way.
    """
    if way not in ("blocks", "selective"):
        raise ValueError(f"checkpointing must be one of {', '.join(get_args(Checkpointing))}, got {way!r}")

    def contexts() -> Contexts:
        forward, backward = _selective() if way == "selective" else (nullcontext(), nullcontext())
        return forward, _AsInForward(block, backward)

    if torch.compiler.is_compiling():  # Dynamo takes no other contexts, and updates buffers in forward alone
        given = {"context_fn": _selective} if way == "selective" else {}
    else:
        given = {"context_fn": contexts}
    return checkpoint(run, *args, use_reentrant=False, **given)  # pyright: ignore[reportArgumentType, reportCallIssue]


def _selective() -> Contexts:
    return create_selective_checkpoint_contexts(_PRODUCTS)


class _AsInForward(AbstractContextManager[None]):
    """Made in forward, entered in backward: the block computes the same again, and no running statistics change."""

    def __init__(self, block: nn.Module, inner: AbstractContextManager[Any]) -> None:
        self.inner = inner
        self.modules = [*block.modules()]
        self.tensors = [
            (held, name, tensor)
            for held in _tensors(self.modules)
            for name, tensor in held.items()
            if tensor is not None
        ]

    def __enter__(self) -> None:
        with ExitStack() as stack:
            for held, name, tensor in self.tensors:
                _put(stack, held, name, tensor)
            for module in self.modules:
                if isinstance(module, _BatchNorm) and module.training:  # normalise by the batch, update nothing
                    _put(stack, vars(module), "momentum", 0.0)
                    _put(stack, _place_of(module, "num_batches_tracked"), "num_batches_tracked", None)
                elif _iterates(module):  # keep what the power iteration of forward found
                    _put(stack, vars(module), "training", False)
            stack.enter_context(self.inner)
            self.stack = stack.pop_all()

    def __exit__(self, *error: Any) -> None:
        self.stack.__exit__(*error)


def _tensors(modules: list[nn.Module]) -> list[dict[str, Any]]:
    return [held for module in modules for held in (module._parameters, module._buffers)]


def _place_of(module: nn.Module, name: str) -> MutableMapping[str, Any]:
    """The dictionary in which a module holds an attribute that may be a buffer."""
    return module._buffers if name in module._buffers else vars(module)


def _put(stack: ExitStack, held: MutableMapping[str, Any], name: str, value: Any) -> None:
    """Set an entry until the stack closes."""
    if held[name] is not value:
        stack.callback(held.__setitem__, name, held[name])
        held[name] = value


def _iterates(module: nn.Module) -> bool:
    """Whether this is a spectral norm, which does a step of power iteration in each forward in train mode."""
    hooks = module._forward_pre_hooks.values()
    return isinstance(module, _SpectralNorm) or any(isinstance(hook, SpectralNorm) for hook in hooks)
