"""Compile the blocks of an attached model: one function per signature, which all blocks of that signature share.

Rows are bound outside of the compiled function, so a graph depends on how many rows pass and not on which. Blocks of
equal structure and counts share one graph, at any depth.
"""

import types
import warnings
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from cosub.choices import BY_CHANCE
from cosub.residual import transformed
from cosub.submodel import Rows
from cosub.twins.twin import Twin, advance, state

Model = TypeVar("Model", bound=nn.Module)

# torch trades memory for time by heuristics. With the first three off, a block stores neither casts of weights nor
# outputs of norms and activations: the backward kernels compute them again. Matrix products and attention are stored.
_LEAN: dict[str, Any] = {
    "ban_recompute_used_far_apart": False,
    "ban_recompute_long_fusible_chains": False,
    "ban_recompute_materialized_backward": False,
    "autograd_cache_allow_custom_autograd_functions": True,  # the operation's: a continued run compiles nothing again
}


def compile_blocks(model: Model, evaluation: bool = False, **options: Any) -> Model:
    """Compile the blocks of an attached model in train mode, in place. `options` are those of `torch.compile`.

    Shapes are static, so each new batch size is compiled again. Evaluation runs eagerly unless `evaluation` is True.
    So does a block whose modules have hooks, with a warning, and everything under `torch.func` and forward-mode
    differentiation.

    Raises:
        ValueError: if nothing is attached, or the number of rows that a layer keeps changes with every draw.
    """
    shared = state(model)
    if shared.rounding in BY_CHANCE:
        raise ValueError(
            f"rounding: {shared.rounding}: every draw keeps another number of rows, and each would be compiled: "
            "use nearest"
        )
    for module in model.modules():
        if isinstance(module, Twin):
            module.cosub.structure = structure(module)
    shared.run = _Steps(evaluation, options)
    return model


def uncompile_blocks(model: Model) -> Model:
    """Undo `compile_blocks`."""
    state(model).run = None
    return model


class _Steps:
    """Runs a block by the compiled function of its signature."""

    def __init__(self, evaluation: bool, options: dict[str, Any]) -> None:
        self.evaluation = evaluation
        backend = lean(**{"dynamic": False, **options})
        inside = ("mode", "options") if options.get("backend", "inductor") == "inductor" else ()  # of the backend
        given = {name: value for name, value in options.items() if name not in inside}
        self.options = {"dynamic": False, **given, "backend": backend}
        self.made: dict[Hashable, Callable[..., Tensor]] = {}
        self.unsplit = torch._dynamo.config.patch(optimize_ddp=False)
        self.warned = False

    def __call__(
        self, block: Twin, x: Tensor, rows: tuple[Rows | None, ...], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Tensor:
        if not self._applies(block):
            return advance(block, x, rows, args, kwargs)
        counts = tuple(None if of is None else (of.kept, of.total, of.scale) for of in rows)
        signature = block.cosub.structure, block.training, block.checkpointing, x.shape, counts
        if signature not in self.made:
            self.made[signature] = torch.compile(_step(counts), **self.options)
        keeps = tuple(None if of is None else of.keep for of in rows)
        with self._in_one_piece():
            return self.made[signature](block, x, keeps, args, kwargs)

    def _in_one_piece(self) -> AbstractContextManager[None]:
        """In the forward of DDP, Dynamo would split a graph where buckets of gradients end, and each part stores more.

        Not only at the first call: a block with frozen weights is compiled again, under the same signature.
        """
        inside = DistributedDataParallel._get_active_ddp_module() is not None
        return self.unsplit if inside else nullcontext()

    def _applies(self, block: Twin) -> bool:
        if not (block.training or self.evaluation) or transformed():
            return False
        if not _hooked(block):
            return True
        if not self.warned:
            self.warned = True
            warnings.warn(
                "compile_blocks: modules inside a block have hooks: these blocks run uncompiled", stacklevel=2
            )
        return False


def _step(counts: tuple[tuple[int, int, float] | None, ...]) -> Callable[..., Tensor]:
    """A function with code of its own. Dynamo keeps the graphs, and limits their number, by code object."""

    def step(
        block: Twin, x: Tensor, keeps: tuple[Tensor | None, ...], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Tensor:
        rows = tuple(None if of is None else Rows(keep, *of) for keep, of in zip(keeps, counts, strict=True))
        return advance(block, x, rows, args, kwargs)

    return types.FunctionType(step.__code__.replace(), step.__globals__, closure=step.__closure__)


def structure(block: nn.Module) -> Hashable:
    """Equal for blocks that one graph can serve: a graph holds plain numbers, such as NFNet's factors, as constants."""
    tensors = tuple((name, p.shape, p.dtype) for name, p in block.named_parameters())
    numbers = tuple(
        (path, name, value)
        for path, module in block.named_modules()
        for name, value in vars(module).items()
        if isinstance(value, float)
    )
    return repr(block), tensors, numbers


def _hooked(block: nn.Module) -> bool:
    """Whether a module inside the block has hooks, which Dynamo would trace once and never check again.

    The block's own run outside of what is compiled. This is asked in every call; `modules()` takes three times as long.
    """
    for module in block._modules.values():
        if module is not None and (
            module._forward_hooks
            or module._forward_pre_hooks
            or module._backward_hooks
            or module._backward_pre_hooks
            or (module._modules and _hooked(module))
        ):
            return True
    return False


def lean(
    backend: str | Callable[..., Any] = "inductor",
    mode: str | None = None,
    options: dict[str, Any] | None = None,
    dynamic: bool | None = False,
    **_: Any,
) -> Callable[..., Any]:
    """A backend that stores less for backward. It changes torch's global settings only while it compiles."""
    from torch._dynamo.backends.registry import lookup_backend  # importing it takes a second
    from torch._functorch import config as partitioner

    if backend == "inductor":
        compiler = torch._TorchCompileInductorWrapper(mode, options, dynamic)
    else:
        compiler = lookup_backend(backend) if isinstance(backend, str) else backend

    def compile_graph(graph: torch.fx.GraphModule, inputs: list[Tensor], **given: Any) -> Callable[..., Any]:
        with partitioner.patch(**_LEAN):
            return compiler(graph, inputs, **given)

    return compile_graph
