"""What all twins share: the state of an attached model, and how a block binds its rows.

A twin is a subclass of a block, mostly of timm, whose forward writes each residual addition as one call of `residual`.
`attach` changes the class of the blocks and nothing else: no wrapper, no new parameter or buffer.
"""

import copy
import warnings
import weakref
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, NoReturn

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from cosub.choices import Checkpointing, Operation, Rounding
from cosub.residual import plain_residual, residual
from cosub.seeds import derive
from cosub.submodel import Rows, Submodel, count, draw, draw_rows
from cosub.twins.checkpointing import recompute
from cosub.twins.lean import store_less

Watch = Callable[[Tensor, Tensor], None]  # sees the stream before and after each residual layer that runs
Step = Callable[["Twin", Tensor, tuple[Rows | None, ...], tuple[Any, ...], dict[str, Any]], Tensor]


@dataclass
class State:
    """The state that all twins of one model share. `step` may be read and set: tables follow (seed, step, rank)."""

    rates: tuple[float, ...]
    copies: int
    rounding: Rounding
    seed: int
    model: "weakref.ref[nn.Module] | None" = field(default=None, repr=False)  # what was attached
    operation: Operation = "efficient"
    step: int = 0
    checkpointing: Checkpointing = "none"
    scale: float = 1.0  # of every branch, in every pass: a slimmed network has one
    watch: Watch | None = None
    chosen: Submodel | None = None  # by `active`
    bound: tuple[Rows, ...] | None = None  # of each layer in the pass under way; None is the full network
    run: Step | None = None  # how a block runs where blocks are compiled
    told: bool = False  # that no row is dropped

    def __deepcopy__(self, memo: dict[int, Any]) -> "State":
        own = memo[id(self)] = copy.copy(self)
        copied = memo.get(id(self.model and self.model()))  # none where a part of the model is copied alone
        own.model = None if copied is None else weakref.ref(copied)
        own.chosen = copy.deepcopy(self.chosen, memo)
        return own

    def __getstate__(self) -> dict[str, Any]:
        """A copy is not compiled, as copies of modules are not, and no pass is under way in it."""
        return {**vars(self), "bound": None, "run": None, "model": self.model and self.model()}

    def __setstate__(self, values: dict[str, Any]) -> None:
        model = values.get("model")
        vars(self).update(values, model=None if model is None else weakref.ref(model))

    def kept(self, rows: int) -> tuple[int, ...]:
        return count(rows, self.rates, self.rounding)

    def draw(self, rows: int, generator: torch.Generator) -> Submodel:
        if self.rounding == "bernoulli":
            return draw_rows(rows, self.rates, generator)
        return draw(rows, self.kept(rows), generator)

    def trains(self, module: nn.Module) -> bool:
        """Whether a pass draws a submodel and makes copies: the mode of the model, whatever that of its blocks.

        `module` is where the pass begins; its mode counts if the model is not there any more.
        """
        model = self.model and self.model()
        return (module if model is None else model).training

    def repeats(self, images: int, module: nn.Module) -> int:
        """How many rows leave the door for one image that comes to it."""
        if self.chosen is None:
            return self.copies if self.trains(module) else 1
        if self.chosen.rows % images:
            raise ValueError(
                f"the active submodel has {self.chosen.rows} rows and the batch {images} images: "
                f"make it for a whole number of copies, e.g. {images * self.copies} rows"
            )
        return self.chosen.rows // images

    def open(self, x: Tensor, module: nn.Module) -> Tensor:
        """At the door: fix the submodel of this pass, and repeat what is the same for all copies until here."""
        repeats = self.repeats(x.shape[0], module)
        submodel = self.chosen
        if submodel is None and self.trains(module):
            submodel = self.next(x.shape[0] * repeats)
        self.bound = None if submodel is None else submodel.layers(x.device, self.scale)
        return x.repeat(repeats, *[1] * (x.dim() - 1)) if repeats > 1 else x

    @torch.compiler.disable()
    def next(self, rows: int) -> Submodel:
        """Draw the table of this step and count the step."""
        generator = torch.Generator().manual_seed(derive("attach", self.seed, self.step, _rank()))
        self.step += 1
        submodel = self.draw(rows, generator)
        if not self.told and any(self.rates) and all(kept == rows for kept in submodel.kept):
            self.told = True
            warnings.warn(
                f"drop_rate: {max(self.rates):g} of {rows} rows drops none, so all copies are the full network: "
                'take more images, a higher rate, or rounding="spread"',
                stacklevel=2,
            )
        return submodel


def _rank() -> int:
    distributed = torch.distributed
    return distributed.get_rank() if distributed.is_available() and distributed.is_initialized() else 0


@dataclass
class Place:
    """Where a twin stands: the shared state, its residual layers, whether copies are made before it.

    `absent` are the branches that the block has lost, by their number in it; `num_layers` counts the others.
    """

    state: State
    first_layer: int
    door: bool
    num_layers: int = 0
    absent: frozenset[int] = frozenset()
    structure: Hashable = None  # equal for blocks that one compiled graph can serve

    def rows(self, x: Tensor, training: bool) -> tuple[Rows | None, ...]:
        """Of each of the block's branches; an absent one has no row, so that nothing calls it.

        A block in eval mode keeps all rows of a submodel that was drawn, as timm's drop path does.
        """
        found = self._bound(x, training)
        if not self.absent:
            return found
        present, nothing = iter(found), Rows(None, 0, x.shape[0], 1.0)
        total = self.num_layers + len(self.absent)
        return tuple(nothing if branch in self.absent else next(present) for branch in range(total))

    def _bound(self, x: Tensor, training: bool) -> tuple[Rows | None, ...]:
        state, rows = self.state, x.shape[0]
        if state.bound is None or not (training or state.chosen):
            full = None if state.scale == 1 else Rows(None, rows, rows, state.scale)
            return (full,) * self.num_layers
        if rows != state.bound[0].total:
            raise ValueError(
                f"this block got {rows} rows and the submodel has {state.bound[0].total}: "
                "call the whole model, not one of its blocks, or call it in eval mode first"
            )
        return state.bound[self.first_layer : self.first_layer + self.num_layers]


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
        return operation if state.watch is None else partial(_watched, operation, state.watch)

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
        if place.door:
            x = state.open(x, self)
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


def _watched(
    operation: Callable[..., Tensor],
    watch: Watch,
    x: Tensor,
    branch: Callable[[Tensor], Tensor],
    rows: Rows | None,
    shortcut: Tensor | None = None,
) -> Tensor:
    y = operation(x, branch, rows, shortcut=shortcut)
    if rows is None or rows.kept:
        watch(x if shortcut is None else shortcut, y)
    return y


def untouched(y: Tensor, x: Tensor) -> Tensor:
    """`y` for an activation that writes in place: where the layer was skipped `y` is the block's input."""
    return y.clone() if y is x else y


def scaled(gamma: Tensor | None, x: Tensor) -> Tensor:
    """LayerScale whose factors are held by the block, or absent."""
    return x if gamma is None else gamma * x


def class_of(module: nn.Module) -> type[nn.Module]:
    """The class of a module, without the one that torch's parametrizations have put over it."""
    return type(module).__bases__[0] if is_parametrized(module) else type(module)


def retype(module: nn.Module, kind: type[nn.Module]) -> None:
    """Change the class of a module; its parametrizations stay, over the new one."""
    if is_parametrized(module):
        own = {name: value for name, value in vars(type(module)).items() if name not in ("__dict__", "__weakref__")}
        kind = type(type(module).__name__, (kind,), own)
    module.__class__ = kind


class Host(nn.Module):
    """A module of timm's that checkpoints its blocks. Its twins do that themselves, with their rows bound."""

    cosub: Place

    @property
    def grad_checkpointing(self) -> bool:
        """Always False to timm's own forward; setting it (`set_grad_checkpointing`) reaches the twins."""
        return False

    @grad_checkpointing.setter
    def grad_checkpointing(self, enable: bool) -> None:
        self.cosub.state.checkpointing = "blocks" if enable else "none"
