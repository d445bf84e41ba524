"""The state of an attached model, which all its twins share, and the place of each twin in the model."""

import copy
import warnings
import weakref
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from cosub.choices import BY_CHANCE, Checkpointing, Operation, Rounding
from cosub.seeds import derive
from cosub.submodel import Rows, Submodel, count, draw, draw_rows

Observer = Callable[[Tensor, Tensor], None]  # called with the stream before and after each residual layer that runs
Step = Callable[[Any, Tensor, tuple[Rows | None, ...], tuple[Any, ...], dict[str, Any]], Tensor]


@dataclass
class State:
    """The state that all twins of one model share. `step` may be set: submodels depend on (seed, step, rank)."""

    rates: tuple[float, ...]
    copies: int
    rounding: Rounding
    seed: int
    model: "weakref.ref[nn.Module] | None" = field(default=None, repr=False)  # the attached model
    operation: Operation = "efficient"
    step: int = 0
    checkpointing: Checkpointing = "none"
    scale: float = 1.0  # factor of every branch in every pass: `kept_scale` of a slimmed network
    observer: Observer | None = None
    chosen: Submodel | None = None  # by `active`
    bound: tuple[Rows, ...] | None = None  # each layer's rows in the current pass; None is the full network
    run: Step | None = None  # set where blocks are compiled
    warned: bool = False  # that no row is dropped

    def __deepcopy__(self, memo: dict[int, Any]) -> "State":
        own = memo[id(self)] = copy.copy(self)
        copied = memo.get(id(self.model and self.model()))  # None where only a part of the model is copied
        own.model = None if copied is None else weakref.ref(copied)
        own.chosen = copy.deepcopy(self.chosen, memo)
        return own

    def __getstate__(self) -> dict[str, Any]:
        """A copy is not compiled, as copies of modules are not, and is outside of any pass."""
        return {**vars(self), "bound": None, "run": None, "model": self.model and self.model()}

    def __setstate__(self, values: dict[str, Any]) -> None:
        model = values.get("model")
        vars(self).update(values, model=None if model is None else weakref.ref(model))

    def kept(self, rows: int) -> tuple[int, ...]:
        return count(rows, self.rates, self.rounding)

    def draw(self, rows: int, generator: torch.Generator) -> Submodel:
        if self.rounding in BY_CHANCE:
            return draw_rows(rows, self.rates, generator, 0 if self.rounding == "masked" else 1)
        return draw(rows, self.kept(rows), generator)

    def trains(self, module: nn.Module) -> bool:
        """Whether a pass draws a submodel and makes copies: the model's mode decides, not that of its blocks.

        `module` is where the pass begins; its mode decides if the model no longer exists.
        """
        model = self.model and self.model()
        return (module if model is None else model).training

    def repeats(self, images: int, module: nn.Module) -> int:
        """How many rows each image becomes at the replication point."""
        if self.chosen is None:
            return self.copies if self.trains(module) else 1
        if self.chosen.rows % images:
            raise ValueError(
                f"the active submodel has {self.chosen.rows} rows and the batch {images} images: "
                f"make it for a whole number of copies, e.g. {images * self.copies} rows"
            )
        return self.chosen.rows // images

    def begin(self, x: Tensor, module: nn.Module) -> Tensor:
        """At the replication point: fix the submodel of this pass, and repeat `x` for each copy."""
        repeats = self.repeats(x.shape[0], module)
        submodel = self.chosen
        if submodel is None and self.trains(module):
            submodel = self.next(x.shape[0] * repeats)
        self.bound = None if submodel is None else submodel.layers(x.device, self.scale, self.rounding == "masked")
        return torch.cat([x] * repeats) if repeats > 1 else x  # keeps channels last, as repeat does not

    @torch.compiler.disable()
    def next(self, rows: int) -> Submodel:
        """Draw the table of this step and count the step."""
        generator = torch.Generator().manual_seed(derive("attach", self.seed, self.step, _rank()))
        self.step += 1
        submodel = self.draw(rows, generator)
        rounded = self.rounding not in BY_CHANCE
        if rounded and not self.warned and any(self.rates) and all(kept == rows for kept in submodel.kept):
            self.warned = True
            warnings.warn(
                f"drop_rate: {max(self.rates):g} of {rows} rows drops none, so all copies are the full network: "
                'use more images, a higher rate, or rounding="bernoulli"',
                stacklevel=2,
            )
        return submodel


def _rank() -> int:
    distributed = torch.distributed
    return distributed.get_rank() if distributed.is_available() and distributed.is_initialized() else 0


@dataclass
class Place:
    """The place of a twin: the shared state, its residual layers, whether copies are made before it.

    `absent` are the branches that were removed from the block, by their index in it; `num_layers` counts the others.
    """

    state: State
    first_layer: int
    replicates: bool
    num_layers: int = 0
    absent: frozenset[int] = frozenset()
    structure: Hashable = None  # equal for blocks that one compiled graph can serve

    def rows(self, x: Tensor, training: bool) -> tuple[Rows | None, ...]:
        """The rows of each of the block's branches; an absent branch has none, and is never called.

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
