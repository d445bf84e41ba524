"""Training steps: several ways of one network, alternating in one process, as ratios to the first."""

import dataclasses
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Literal

import torch

from card.row import Setup
from cosub.bench.step import Candidate, Case, candidate, make_batch, take_turns
from cosub.choices import Way
from cosub.paper.sizes.models import speed
from cosub.recipes import get
from cosub.recipes.data import Folder
from cosub.recipes.methods import Cosub
from cosub.train.machine import Machine
from cosub.train.planning import plan
from cosub.twins.compilation import lean

How = Literal["eager", "blocks", "whole", "lean"]
GIB = 2**30

Ways = dict[str, tuple[Way, How]]
MASKED: Ways = {"masked": ("masked", "blocks")}
LEAN: Ways = {"masked storing as ours": ("masked", "lean")}
CO_TRAINING: Ways = {"co-training": ("cosub", "blocks")}
ONE_COPY: Ways = {"one copy": ("efficient", "blocks")}
EAGER: Ways = {"masked": ("masked", "eager"), "one copy": ("efficient", "eager"), "co-training": ("cosub", "eager")}


@dataclass(frozen=True)
class Steps:
    """A row: ways of one network, compared with the first of them, in bf16 on random images."""

    model: str
    rate: float
    images: int
    ways: Ways
    depth: int | None = None
    planned: bool = False
    """Whether to report the dry run's memory of co-training, which is for eager blocks, with the peak."""
    small: Case = field(default=Case("vit_tiny_patch16_224", 0.5, 4, resolution=32, depth=2))
    """The network of tiny rows."""
    repeats: int = 10

    def __call__(self, setup: Setup) -> dict[str, Any]:
        torch.manual_seed(0)
        device = torch.device(setup.device)
        case = self.case(setup)
        ready = {name: candidate(_with(case, how), way, device) for name, (way, how) in self.ways.items()}
        with torch._dynamo.config.patch(recompile_limit=64):  # masked blocks share code, and stages differ in shape
            found = timings(ready, case, device, 1 if setup.tiny else self.repeats)
        if self.planned:
            setup.keep(found)  # counting takes time of the CPU alone
            found["planned_gib"] = round(planned_bytes(case) / GIB, 3)
        return found

    def case(self, setup: Setup) -> Case:
        if setup.tiny:
            return dataclasses.replace(self.small, bf16=True, backend="aot_eager")
        return Case(self.model, self.rate, self.images, depth=self.depth, bf16=True)


def _with(case: Case, how: How) -> Case:
    masked = "whole" if how == "whole" else "blocks"
    backend = lean(case.backend) if how == "lean" else case.backend
    return dataclasses.replace(case, compiled=how != "eager", masked=masked, backend=backend)


def timings(ready: dict[str, Candidate], case: Case, device: torch.device, repeats: int) -> dict[str, Any]:
    """Milliseconds and GiB of each, both also as ratios to the first, and seconds of compiling.

    The ratio of times is the median over the turns, in each of which all take one step.
    """
    first = next(iter(ready))
    batch = make_batch(case, ready[first], device)
    timed = take_turns(ready, batch, device, repeats)
    found: dict[str, Any] = {
        "ms": {name: round(1e3 * of.median, 2) for name, of in timed.items()},
        "spread_ms": {name: [round(1e3 * end(of.seconds), 2) for end in (min, max)] for name, of in timed.items()},
        "first_s": {name: round(of.first - of.median, 1) for name, of in timed.items()},
        "time": {
            name: round(median(ours / base for ours, base in zip(of.seconds, timed[first].seconds, strict=True)), 3)
            for name, of in timed.items()
            if name != first
        },
    }
    if device.type == "cuda":
        found["peak_gib"] = {name: round(of.peak / GIB, 3) for name, of in timed.items()}
        found["peak"] = {name: round(of.peak / timed[first].peak, 3) for name, of in timed.items() if name != first}
        found["alloc_retries"] = torch.cuda.memory_stats(device)["num_alloc_retries"]  # above 0, times are too long
    return found


def planned_bytes(case: Case) -> int:
    """Memory of a step of co-training on one device, as `--dry-run` counts it."""
    recipe = get("digits")
    depth = {} if case.depth is None else {"depth": case.depth}
    recipe = dataclasses.replace(
        recipe, model=case.model, model_args=depth, resolution=case.resolution or 224, method=Cosub(), precision="bf16",
        drop_rate=case.drop_rate, batch_size=case.batch_size, group_size=case.batch_size, data=Folder(),
    )  # fmt: skip
    return plan(recipe, Machine(), images=1000 * case.batch_size).memory.total


@dataclass(frozen=True)
class Rates:
    """A row: one copy relative to masking at low rates, where masking may be faster."""

    model: str
    images: int
    rates: tuple[float, ...]

    def __call__(self, setup: Setup) -> dict[str, Any]:
        steps = {f"{rate:g}": Steps(self.model, rate, self.images, {**MASKED, **ONE_COPY}) for rate in self.rates}
        return {rate: row(setup) for rate, row in steps.items()}


def models(setup: Setup) -> dict[str, Any]:
    """Three rows of `cosub bench models`: images per second and peak GB of forward."""
    if setup.tiny:
        return {"vit_tiny_patch16_224": speed("vit_tiny_patch16_224", 224, torch.device(setup.device), 2, 1)}
    names = "deit3_base_patch16_224", "convnext_base", "swin_base_patch4_window7_224"
    return {name: speed(name, 224, torch.device(setup.device)) for name in names}
