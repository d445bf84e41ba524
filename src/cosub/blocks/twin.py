"""What all twins share: the state of an attached model, and how a block binds its rows.

A twin is a subclass of a block, mostly of timm, whose forward writes each residual addition as one call of `residual`.
`attach` changes the class of the modules and nothing else: no wrapper, no new parameter or buffer.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts

from cosub.choices import Checkpointing, Operation, Rounding
from cosub.residual import plain_residual, residual
from cosub.seeds import derive
from cosub.submodel import Rows, Submodel, count, draw, draw_rows

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

Watch = Callable[[Tensor, Tensor], None]  # sees the stream before and after each residual layer that runs


@dataclass
class State:
    """The state that all twins of one model share. `step` may be read and set: tables follow (seed, step, rank)."""

    rates: tuple[float, ...]
    copies: int
    rounding: Rounding
    seed: int
    operation: Operation = "efficient"
    step: int = 0
    checkpointing: Checkpointing = "none"
    scale: float = 1.0  # of every branch, in every pass: a slimmed network has one
    watch: Watch | None = None
    chosen: Submodel | None = None  # by `active`
    current: Submodel | None = None  # what the pass under way runs; None is the full network

    def kept(self, rows: int) -> tuple[int, ...]:
        return count(rows, self.rates, self.rounding)

    def draw(self, rows: int, generator: torch.Generator) -> Submodel:
        if self.rounding == "bernoulli":
            return draw_rows(rows, self.rates, generator)
        return draw(rows, self.kept(rows), generator)

    def repeats(self, images: int, training: bool) -> int:
        """How many rows leave the door for one image that comes to it."""
        if self.chosen is None:
            return self.copies if training else 1
        if self.chosen.rows % images:
            raise ValueError(
                f"the active submodel has {self.chosen.rows} rows and the batch {images} images: "
                f"make it for a whole number of copies, e.g. {images * self.copies} rows"
            )
        return self.chosen.rows // images

    def open(self, x: Tensor, training: bool) -> Tensor:
        """At the door: fix the submodel of this pass, and repeat what is the same for all copies until here."""
        repeats = self.repeats(x.shape[0], training)
        submodel = self.chosen
        if submodel is None and training:
            submodel = self.next(x.shape[0] * repeats)
        self.current = submodel.to(x.device) if submodel is not None else None
        return x.repeat(repeats, *[1] * (x.dim() - 1)) if repeats > 1 else x

    @torch.compiler.disable()
    def next(self, rows: int) -> Submodel:
        """Draw the table of this step and count the step."""
        generator = torch.Generator().manual_seed(derive("attach", self.seed, self.step, _rank()))
        self.step += 1
        return self.draw(rows, generator)

    def rows(self, x: Tensor, first_layer: int, num_layers: int) -> tuple[Rows | None, ...]:
        if self.current is None:
            full = None if self.scale == 1 else Rows(None, x.shape[0], x.shape[0], self.scale)
            return (full,) * num_layers
        if x.shape[0] != self.current.rows:
            raise ValueError(
                f"this block got {x.shape[0]} rows and the submodel has {self.current.rows}: "
                "call the whole model, not one of its blocks, or call it in eval mode first"
            )
        found = [self.current.layer(first_layer + index) for index in range(num_layers)]
        return tuple(rows._replace(scale=rows.scale * self.scale) for rows in found)


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

    def rows(self, x: Tensor) -> tuple[Rows | None, ...]:
        """Of each of the block's branches; an absent one has no row, so that nothing calls it."""
        found = iter(self.state.rows(x, self.first_layer, self.num_layers))
        nothing = Rows(None, 0, x.shape[0], 1.0)
        total = self.num_layers + len(self.absent)
        return tuple(nothing if branch in self.absent else next(found) for branch in range(total))


class Twin(nn.Module):
    """A block of `layers` residual layers. A subclass writes `run`; the submodel comes in as an argument.

    In `run`, `self.residual` is the operation that the model was attached with. `branches` names, for each residual
    layer in the order of `run`, the modules and parameters of the block that it alone uses.
    """

    layers: ClassVar[int]
    branches: ClassVar[tuple[tuple[str, ...], ...]]
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
    def vanishes(cls, block: Any) -> bool:
        """Whether a block without any of its branches gives what it is given."""
        return True

    @property
    def residual(self) -> Callable[..., Tensor]:
        state = self.cosub.state
        operation = residual if state.operation == "efficient" else plain_residual
        return operation if state.watch is None else partial(_watched, operation, state.watch)

    @property
    def checkpointing(self) -> Checkpointing:
        """How this block is checkpointed."""
        return self.cosub.state.checkpointing

    def fold(self) -> None:
        """Fold norms and scales into the projections beside them, for the efficient operation; by default nothing."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        place = self.cosub
        if place.door:
            x = place.state.open(x, self.training)
        # The rows are bound here and handed to what is checkpointed: the recomputation in backward must not
        # read a state that another forward has changed in between.
        rows = place.rows(x)
        if self.checkpointing == "none" or not torch.is_grad_enabled():
            return self.run(x, rows, *args, **kwargs)
        selective = self.checkpointing == "selective"
        contexts = {"context_fn": _keep_products} if selective else {}
        return checkpoint(self.run, x, rows, *args, use_reentrant=False, **contexts, **kwargs)  # pyright: ignore[reportReturnType]

    def owns(self, y: Tensor, x: Tensor) -> bool:
        """Whether the operation may write to `y`: it was made in this block, and nothing will compute it again."""
        return y is not x and self.checkpointing == "none"


def _watched(
    operation: Callable[..., Tensor],
    watch: Watch,
    x: Tensor,
    branch: Callable[[Tensor], Tensor],
    rows: Rows | None,
    owned: bool = False,
    shortcut: Tensor | None = None,
) -> Tensor:
    y = operation(x, branch, rows, shortcut=shortcut)  # never owned: it would write over what is watched
    if rows is None or rows.kept:
        watch(x if shortcut is None else shortcut, y)
    return y


def untouched(y: Tensor, x: Tensor) -> Tensor:
    """`y` for an activation that writes in place: where the layer was skipped `y` is the block's input."""
    return y.clone() if y is x else y


def _keep_products() -> Any:
    """Selective checkpointing: matrix products and attention are kept, what is cheap is computed again."""
    return create_selective_checkpoint_contexts(_PRODUCTS)


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
