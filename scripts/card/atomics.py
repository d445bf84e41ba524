"""What atomic additions of rows cost: whole steps of co-training, beside three experiments that do without."""

import dataclasses
from collections.abc import Callable
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from card.permuted import Permuted
from card.row import Setup
from card.steps import CO_TRAINING, Steps, timings
from cosub import residual
from cosub.bench.step import Candidate, candidate
from cosub.losses import cosub_loss
from cosub.twins import twin

AddRows = Callable[[Tensor, Tensor, Tensor, float], Tensor]


def copied(x: Tensor, added: Tensor, keep: Tensor, scale: float) -> Tensor:
    """`x` with `scale * added` added to the rows `keep`: a sum, and a copy of it, into which Inductor fuses the sum."""
    return x.index_copy(0, keep, x.index_select(0, keep) + scale * added)


def operation(add_rows: AddRows) -> Callable[..., Tensor]:
    """`residual` with another way to add rows."""

    class Gather(residual._Gather):
        @staticmethod
        def backward(ctx: Any, around: Tensor, kept: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
            return add_rows(around, kept, ctx.saved_tensors[0], 1.0), None

    class Add(residual._Add):
        @staticmethod
        def forward(ctx: Any, x: Tensor, added: Tensor, keep: Tensor, scale: float) -> Tensor:
            ctx.save_for_backward(keep)
            ctx.scale = scale
            return add_rows(x, added, keep, scale)

    def run(x: Tensor, branch: Callable[[Tensor], Tensor], rows: Any, shortcut: Tensor | None = None) -> Tensor:
        assert shortcut is None  # of a ViT
        around, kept = Gather.apply(x, rows.keep)  # pyright: ignore[reportGeneralTypeIssues]
        added = branch(kept)
        return Add.apply(around, added.to(around.dtype), rows.keep, rows.scale)  # pyright: ignore[reportReturnType]

    return run


def atomics(setup: Setup) -> dict[str, Any]:
    """ViT-L, rate 0.45, 192 images, compiled by blocks: three ways relative to `index_add`."""
    from card.in_place import in_place  # needs Triton, which not every build of torch brings

    steps = Steps("deit3_large_patch16_224", 0.45, 192, CO_TRAINING)
    case, device = steps.case(setup), torch.device(setup.device)
    compiled = dataclasses.replace(case, compiled=True)
    ways = {
        "index_add": candidate(compiled, "cosub", device),
        "index_copy": _adding(candidate(compiled, "cosub", device), copied),
        "in place": _adding(candidate(compiled, "cosub", device), in_place),
    }
    plain = candidate(case, "masked", device)  # its drop paths are not called
    run = Permuted(plain.networks["network"], case.drop_rate, case.backend)

    def permuted(images: Tensor, targets: Tensor) -> Tensor:
        with torch.autocast(setup.device, torch.bfloat16):
            return cosub_loss(run(images), targets)

    ways["permuted"] = dataclasses.replace(plain, loss=permuted)
    return timings(ways, case, device, 1 if setup.tiny else steps.repeats)


def _adding(ours: Candidate, add_rows: AddRows) -> Candidate:
    run = operation(add_rows)

    def loss(images: Tensor, targets: Tensor) -> Tensor:
        with mock.patch.object(twin, "residual", run):
            return ours.loss(images, targets)

    return dataclasses.replace(ours, loss=loss)
