"""What a run will take, before it runs: steps, FLOPs, time, and memory per device.

Data that are there are counted. No model is allocated: one micro-step of the recipe's own method is run on tensors
without memory.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from cosub.choices import Precision
from cosub.data.transforms import training
from cosub.recipes.ranges import require
from cosub.recipes.recipe import Recipe
from cosub.runs.counting import count_parameters
from cosub.train.cautions import cautions, effective_rate
from cosub.train.compile_choice import Choice
from cosub.train.estimate import Estimate, Memory, Setting
from cosub.train.machine import Machine
from cosub.train.optim import learning_rate, warmup_steps
from cosub.train.steps import steps_per_epoch
from cosub.train.tasks import task_type

Known = Literal["given", "source", "assumed"]


@dataclass(frozen=True)
class Rate:
    """The learning rate at one step."""

    place: str
    step: int
    rate: float


@dataclass(frozen=True)
class Size:
    """Of the training set."""

    images: int
    classes: int
    known: Known
    """The images: given, counted in the source, or assumed to be ImageNet-1k's."""


@dataclass(frozen=True)
class Plan:
    """What a run will take. Rows are counted for a group of images, and for a device's whole share of a step."""

    recipe: Recipe
    machine: Machine
    precision: Precision
    parameters: int
    size: Size
    steps_per_epoch: int
    learning_rates: tuple[Rate, ...]
    copies: int
    groups_per_device: int
    kept: tuple[int, ...]
    effective_drop_rate: float
    flops: int
    """Of a step, forward and backward, on all devices."""
    replicated: Memory
    """With DistributedDataParallel, or on one device."""
    sharded: Memory
    """With weights, gradients and optimizer shared out over the devices (FSDP2)."""
    runs_sharded: bool
    compiled: Choice
    """Whether blocks are compiled, and why."""
    settings: tuple[Setting, ...]
    """Where it does not fit: for sharding and each kind of checkpointing, the fewest micro-steps that do."""
    cautions: tuple[str, ...]

    @property
    def steps(self) -> int:
        return self.recipe.epochs * self.steps_per_epoch

    @property
    def rows(self) -> int:
        """Rows of a group."""
        return self.copies * self.recipe.group_size

    @property
    def memory(self) -> Memory:
        """On a device, the way the recipe runs."""
        return self.sharded if self.runs_sharded else self.replicated

    @property
    def fits(self) -> bool:
        return self.memory.total <= self.machine.memory

    @property
    def seconds_per_step(self) -> float:
        """At the machine's utilisation; training alone, without evaluation and waiting for data."""
        machine = self.machine
        return self.flops / (machine.devices * machine.peak(self.precision) * 1e12 * machine.utilisation)

    @property
    def hours(self) -> float:
        return self.steps * self.seconds_per_step / 3600

    def to_json(self) -> dict[str, Any]:
        """Plain values for `json.dumps`."""
        names = ("steps", "rows", "fits", "seconds_per_step", "hours")
        found = {**dataclasses.asdict(self), **{name: getattr(self, name) for name in names}}
        for name in ("replicated", "sharded"):
            found[name]["total"] = getattr(self, name).total
        found["device_tflops"] = self.machine.peak(self.precision)
        found["rows_per_device"] = self.rows * self.groups_per_device
        found["kept_per_device"] = [count * self.groups_per_device for count in self.kept]
        return found


def plan(
    recipe: Recipe,
    machine: Machine,
    images: int | None = None,
) -> Plan:
    """Plan a run of a recipe on a machine. Of the recipe's data nothing but their list is read.

    Args:
        recipe: any recipe; precision auto is planned as bf16, unless its device is the CPU.
        machine: the devices.
        images: training images; by default those of the recipe's data where they are there, else ImageNet-1k's, or
            21k's for a recipe of its classes, or ADE20K's. Likewise its classes: the recipe's, 10, 1000 or 150.

    Raises:
        InputError: for data that are there and that training would refuse.
        InputError: for what training would refuse too: devices that do not divide the groups, a model that cannot be
            built or has no twins, an unknown augmentation.
    """
    size = _size(recipe, images)
    per_epoch = steps_per_epoch(recipe, size.images)
    training(recipe.resolution, recipe.augment)  # refuses what training would
    estimate = Estimate(recipe, machine, size.classes)
    compiled = estimate.compiled(recipe.epochs * per_epoch)
    sharded = recipe.runtime.parallel == "fsdp"
    asked = estimate.setting(sharded, recipe.runtime.checkpointing, recipe.runtime.micro_steps)
    network = estimate.network
    return Plan(
        recipe=recipe,
        machine=machine,
        precision=estimate.precision,
        parameters=count_parameters(network),
        size=size,
        steps_per_epoch=per_epoch,
        learning_rates=tuple(_rates(recipe, per_epoch)),
        copies=estimate.method.copies,
        groups_per_device=estimate.groups_per_device,
        kept=estimate.kept,
        effective_drop_rate=effective_rate(recipe, network),
        flops=asked.flops,
        replicated=estimate.memory(False, asked.checkpointing, asked.micro_steps),
        sharded=estimate.memory(True, asked.checkpointing, asked.micro_steps),
        runs_sharded=sharded,
        compiled=compiled,
        settings=() if asked.fits else tuple(estimate.settings(sharded)),
        cautions=tuple(cautions(recipe, network)),
    )


def _size(recipe: Recipe, images: int | None) -> Size:
    require(images is None or images >= 1, "images", images, "must be 1 or more")
    task, data = task_type(recipe), recipe.data
    if data.EMBEDDED or (images is None and data.is_here):
        source = task.open(recipe)
        return Size(images or len(source.train.labels), len(source.classes), "given" if images else "source")
    _, number, classes = task.assumed(recipe)
    return Size(images or number, classes, "given" if images else "assumed")


def _rates(recipe: Recipe, per_epoch: int) -> Iterator[Rate]:
    """The learning rate at the ends of the run and of warm-up, and at its quarters, in the order of steps."""
    last = recipe.epochs * per_epoch - 1
    places = [(f"{quarter:.0%}", round(quarter * last)) for quarter in (0, 0.25, 0.5, 0.75, 1)]
    places.append(("warm-up ends", min(warmup_steps(recipe, per_epoch), last)))
    for place, step in sorted(places, key=lambda item: item[1]):
        yield Rate(place, step, learning_rate(recipe, step, per_epoch))
