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
    """A block of `layers` residual layers. A subclass writes `run`; the submodel comes in as an argument.

    In `run`, `self.residual` is the operation that the model was attached with. What else is known of a block:

        branches  of each residual layer, the modules and parameters that it alone uses, in the order of `run`
        around    what runs on all rows around the branches, in order: a shortcut, the activation after the addition
        ends      the last linear layer inside a module in which a branch ends
    """

    layers: ClassVar[int]
    branches: ClassVar[tuple[tuple[str, ...], ...]]
    around: ClassVar[tuple[str, ...]] = ()
    ends: ClassVar[Mapping[str, str]] = {"attn": "proj", "mlp": "fc2"}
    timm_class: ClassVar[type[nn.Module]]
    cosub: Place

    def run(self, x: Tensor, rows: tuple[Rows | None, ...], *args: Any, **kwargs: Any) -> Tensor:
        raise NotImplementedError

    @classmethod
    def layers_of(cls, block: Any) -> int:
        """How many residual layers a block of timm's has; one without any is left as it is."""
        return cls.layers

    @classmethod
    def branches_of(cls, block: Any) -> tuple[tuple[str, ...], ...]:
        """The names in `branches` as they are for one block; a name may be that of a module in a module."""
        return cls.branches

    @classmethod
    def around_of(cls, block: Any) -> tuple[str, ...] | None:
        """The names in `around` that one block has; None if the way around is more than these in a row."""
        return tuple(name for name in cls.around if not isinstance(getattr(block, name, None), nn.Identity | None))

    @classmethod
    def vanishes(cls, block: Any) -> bool:
        """Whether a block without any of its branches is the identity. A second ReLU changes nothing."""
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


_PLAIN = "cosub.detach(model) first, or take torch.export"


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
        raise RuntimeError("DataParallel runs copies that share one state: take DistributedDataParallel")
    if isinstance(x, torch.fx.Proxy):
        raise RuntimeError(f"an attached model cannot be traced by torch.fx: {_PLAIN}")
    if torch._C._get_tracing_state() and block.cosub.state.trains(block):  # one submodel would be all that it has
        raise RuntimeError(f"an attached model in train mode cannot be traced: model.eval(), or {_PLAIN}")


def advance(
    block: Twin, x: Tensor, rows: tuple[Rows | None, ...], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Tensor:
    """Run a block on rows that are bound: what is computed again in backward reads no state of the pass."""
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
    """`y` for an activation that writes in place: where the layer was skipped `y` is the block's input."""
    return y.clone() if y is x else y


def scaled(gamma: Tensor | None, x: Tensor) -> Tensor:
    """LayerScale whose factors are held by the block, or absent."""
    return x if gamma is None else gamma * x
