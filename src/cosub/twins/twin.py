"""A twin: a subclass of a block whose forward writes each residual addition as one call of `residual`.

`attach` changes the class of the blocks and nothing else: no wrapper, no new parameter or buffer.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar, NoReturn

import torch
from torch import Tensor, nn

from cosub.choices import Checkpointing
from cosub.residual import plain_residual, residual
from cosub.submodel import Rows
from cosub.twins.checkpointing import recompute
from cosub.twins.lean import store_less
from cosub.twins.state import Observer, Place, State


class Twin(nn.Module):
    """A block of residual layers. A subclass writes `run`, which gets the kept rows as an argument.

    In `run`, `self.residual` is the operation that the model was attached with. A subclass also states:

        branches  for each residual layer, the names of modules and parameters that only it uses, in the order of `run`
        around    names of what runs on all rows, in order: a shortcut, the activation after the addition
        ends      for a module in which a branch ends, the name of its last linear layer
    """

    branches: ClassVar[tuple[tuple[str, ...], ...]]
    around: ClassVar[tuple[str, ...]] = ()
    ends: ClassVar[Mapping[str, str]] = {"attn": "proj", "mlp": "fc2"}
    timm_class: ClassVar[type[nn.Module]]
    cosub: Place

    def run(self, x: Tensor, rows: tuple[Rows | None, ...], *args: Any, **kwargs: Any) -> Tensor:
        raise NotImplementedError

    @classmethod
    def layers_of(cls, block: Any) -> int:
        """How many residual layers a block has; a block without any is left as it is."""
        return len(cls.branches)

    @classmethod
    def branches_of(cls, block: Any) -> tuple[tuple[str, ...], ...]:
        """`branches` of one block; a name may be a path, such as attn.proj."""
        return cls.branches

    @classmethod
    def around_of(cls, block: Any) -> tuple[str, ...] | None:
        """The names in `around` that one block has; None if its shortcut is not simply these modules in sequence."""
        return tuple(name for name in cls.around if not isinstance(getattr(block, name, None), nn.Identity | None))

    @classmethod
    def vanishes(cls, block: Any) -> bool:
        """Whether a block without any of its branches is the identity. A ReLU after a ReLU is one."""
        around = cls.around_of(block)
        return around is not None and all(type(getattr(block, name)) is nn.ReLU for name in around)

    @property
    def residual(self) -> Callable[..., Tensor]:
        state = self.cosub.state
        operation = residual if state.operation == "efficient" else plain_residual
        if state.checkpointing == "lean" and torch.is_grad_enabled() and not torch.compiler.is_compiling():
            operation = partial(_lean, self, operation)
        return operation if state.observer is None else partial(_observed, operation, state.observer)

    @property
    def checkpointing(self) -> Checkpointing:
        """How this block is checkpointed."""
        return self.cosub.state.checkpointing

    def __prepare_scriptable__(self) -> NoReturn:
        raise RuntimeError(f"an attached model cannot be scripted: {_PLAIN}")

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        place, state = self.cosub, self.cosub.state
        compiling = torch.compiler.is_compiling()
        if not compiling:
            _refuse_call(self, x)
        if place.replicates:
            x = state.begin(x, self)
        rows = place.rows(x, self.training)
        run = advance if state.run is None or compiling else state.run
        return run(self, x, rows, args, kwargs)


_PLAIN = "cosub.detach(model) first, or use torch.export"


def state(model: nn.Module) -> State:
    """The state of an attached model, also from inside a wrapper: rates, copies, seed and the step counter.

    Raises:
        ValueError: if nothing is attached.
    """
    for module in model.modules():
        if isinstance(module, Twin):
            return module.cosub.state
    raise ValueError("this model is not attached: call cosub.attach(model, drop_rate=...) first")


def _refuse_call(block: Twin, x: object) -> None:
    if torch._C._current_graph_task_id() != -1:
        raise RuntimeError(
            "a block is called again in backward, where its rows are not known: checkpoint attached models by "
            'model.set_grad_checkpointing() or cosub.state(model).checkpointing = "blocks"'
        )
    if "_is_replica" in vars(block):
        raise RuntimeError("DataParallel's replicas would share one state: use DistributedDataParallel")
    if isinstance(x, torch.fx.Proxy):
        raise RuntimeError(f"an attached model cannot be traced by torch.fx: {_PLAIN}")
    if torch._C._get_tracing_state() and block.cosub.state.trains(block):  # the trace would fix one submodel
        raise RuntimeError(f"an attached model in train mode cannot be traced: model.eval(), or {_PLAIN}")
    if _captured() and block.cosub.state.trains(block):  # every replay would run one submodel
        raise RuntimeError(
            "an attached model in train mode cannot be captured in a CUDA graph: model.eval(), or "
            "cosub.detach(model) first"
        )


def _captured() -> bool:
    """Whether CUDA records calls for a graph. It may only be asked where CUDA runs."""
    return torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing()


def advance(
    block: Twin, x: Tensor, rows: tuple[Rows | None, ...], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Tensor:
    """Run a block on given rows. Recomputed in backward, it reads no state of the pass."""
    if block.checkpointing in ("none", "lean") or not torch.is_grad_enabled():
        return block.run(x, rows, *args, **kwargs)
    return recompute(block, block.checkpointing, partial(block.run, **kwargs), x, rows, *args)


def _lean(
    block: Twin,
    operation: Callable[..., Tensor],
    x: Tensor,
    branch: Callable[[Tensor], Tensor],
    rows: Rows | None,
    shortcut: Tensor | None = None,
) -> Tensor:
    def lean(kept: Tensor) -> Tensor:
        added = branch(kept)
        store_less(block, kept, added)
        return added

    return operation(x, lean, rows, shortcut=shortcut)


def _observed(
    operation: Callable[..., Tensor],
    observer: Observer,
    x: Tensor,
    branch: Callable[[Tensor], Tensor],
    rows: Rows | None,
    shortcut: Tensor | None = None,
) -> Tensor:
    y = operation(x, branch, rows, shortcut=shortcut)
    if rows is None or rows.kept:
        observer(x if shortcut is None else shortcut, y)
    return y


def untouched(y: Tensor, x: Tensor) -> Tensor:
    """`y`, safe for an activation that writes in place: where the layer was skipped, `y` is the block's input `x`."""
    return y.clone() if y is x else y


def scaled(gamma: Tensor | None, x: Tensor) -> Tensor:
    """LayerScale with factors held by the block; None is none."""
    return x if gamma is None else gamma * x
