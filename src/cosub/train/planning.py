"""What a run will take, told before it runs: steps, FLOPs, time, and memory a device.

Opens no data and allocates no model: one micro-step of the recipe's own method is run on tensors without memory.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from cosub.attachment import active, state
from cosub.choices import Checkpointing, Precision
from cosub.data.imagenet import IMAGENET, IMAGES
from cosub.data.transforms import training
from cosub.recipes.data import Digits, Scenes
from cosub.recipes.methods import CosubDistill, Distill
from cosub.recipes.ranges import require
from cosub.recipes.recipe import Recipe
from cosub.recipes.tasks import Segmentation
from cosub.runs.counting import Cost, cost, without_memory
from cosub.runs.network import build_network
from cosub.submodel import draw
from cosub.train.cautions import cautions, effective_rate
from cosub.train.compile_choice import Choice, Work, choose, count_work
from cosub.train.machine import Machine
from cosub.train.optim import STATE_TENSORS, learning_rate, warmup_steps
from cosub.train.steps import share, steps_per_epoch
from cosub.train.tasks import method_of
from cosub.train.teachers import Teacher, describe

Known = Literal["given", "source", "assumed"]

ADE20K_IMAGES = 20_210
_DIGITS = 1797
_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_FROM_LITTLE_TO_MUCH: tuple[Checkpointing, ...] = ("none", "lean", "selective", "blocks")


@dataclass(frozen=True)
class Memory:
    """Bytes on one device; on the fullest, where they are shared out."""

    weights: int
    gradients: int
    optimizer: int
    averaged: int
    """The averaged network and the best epoch's, where the recipe has them."""
    others: int
    """A second network, a teacher, or the mean teacher's averaged weights."""
    activations: int
    """What is there between forward and backward: saved for backward, and the batch."""
    working: int
    """What is made and freed on the way, at most, beyond the activations."""

    @property
    def total(self) -> int:
        return sum(dataclasses.astuple(self))


@dataclass(frozen=True)
class Setting:
    """A way to run the recipe that changes rounding at most, and what it takes."""

    sharded: bool
    checkpointing: Checkpointing
    micro_steps: int
    bytes: int
    flops: int
    fits: bool


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
    """The images: given, known of the source, or assumed to be ImageNet-1k's."""


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
    """Plan a run of a recipe on a machine. The recipe's data path is never opened.

    Args:
        recipe: any recipe; precision auto is planned as bf16, unless its device is the CPU.
        machine: the devices.
        images: training images; by default those of a source whose number is known (digits), else ImageNet-1k's, or
            21k's for a recipe of its classes, or ADE20K's. Likewise its classes: the recipe's, 10, 1000 or 150.

    Raises:
        InputError: for what training would refuse too: devices that do not divide the groups, a model that cannot be
            built or has no twins, an unknown augmentation.
    """
    size = _size(recipe, images)
    per_epoch = steps_per_epoch(recipe, size.images)
    training(recipe.resolution, recipe.augment)  # refuses what training would
    estimate = _Estimate(recipe, machine, size.classes)
    compiled = estimate.compiled(recipe.epochs * per_epoch)
    sharded = recipe.runtime.parallel == "fsdp"
    asked = estimate.setting(sharded, recipe.runtime.checkpointing, recipe.runtime.micro_steps)
    network = estimate.network
    return Plan(
        recipe=recipe,
        machine=machine,
        precision=estimate.precision,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
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


class _Estimate:
    """A recipe's micro-step on tensors without memory, and what follows from its cost."""

    def __init__(self, recipe: Recipe, machine: Machine, classes: int) -> None:
        self.recipe, self.machine, self.classes = recipe, machine, classes
        self.groups_per_micro_step = len(share(recipe, 0, machine.devices).groups(0))
        self.groups_per_device = recipe.num_groups // machine.devices
        self.precision: Precision = recipe.precision
        if recipe.precision == "auto":
            self.precision = "fp32" if recipe.runtime.device == "cpu" else "bf16"
        self.method = method_of(recipe)
        with torch.device("meta"):
            self.network = build_network(recipe, classes, self.method.copies)
            self.others = self._others(classes)
        self.rows = self.method.copies * recipe.group_size
        self.kept = state(self.network).kept(self.rows)
        self.mode = FakeTensorMode()
        with self.mode:
            without_memory(self.network).train()
            for network in self.others.values():
                without_memory(network).train(self.method.needs == "peer")
        self.counted: dict[tuple[Checkpointing, int], Cost] = {}

    def compiled(self, steps: int) -> Choice:
        """What training decides. Device auto is planned as a GPU."""
        recipe, runtime = self.recipe, self.recipe.runtime
        device = "cpu" if runtime.device == "cpu" else "cuda"
        return choose(runtime.compile, recipe.rounding, device, steps, self._work)

    def _work(self) -> Work:
        networks = 2 if self.method.needs == "peer" else 1
        with self.mode:
            return count_work(self.network, self.recipe.resolution, self.rows, self.recipe.num_groups, networks)

    def _others(self, classes: int) -> dict[str, nn.Module]:
        """What the method needs besides the network. Of a teacher its description is read, not its weights."""
        method = self.recipe.method
        if isinstance(method, Distill | CosubDistill):
            about = describe(method.teacher, self.recipe.resolution, self.recipe.inputs)
            return {"teacher": Teacher({**about, "classes": classes})}
        if not self.method.needs:
            return {}
        return {self.method.needs: build_network(self.recipe, classes, self.method.copies)}

    def settings(self, sharded: bool) -> Iterator[Setting]:
        """For each kind of checkpointing from the recipe's on, as the run shares out and shared out."""
        kinds = _FROM_LITTLE_TO_MUCH[_FROM_LITTLE_TO_MUCH.index(self.recipe.runtime.checkpointing) :]
        ways = (False, True) if self.machine.devices > 1 and not sharded else (sharded,)
        for way, kind in itertools.product(ways, kinds):
            yield self._fewest(way, kind)

    def _fewest(self, sharded: bool, checkpointing: Checkpointing) -> Setting:
        """With the fewest micro-steps that fit, or with the most if none does."""
        most = self.groups_per_device
        for number in range(self.recipe.runtime.micro_steps, most):
            if most % number == 0 and (found := self.setting(sharded, checkpointing, number)).fits:
                return found
        return self.setting(sharded, checkpointing, most)

    def setting(self, sharded: bool, checkpointing: Checkpointing, micro_steps: int) -> Setting:
        total = self.memory(sharded, checkpointing, micro_steps).total
        flops = self._cost(checkpointing, micro_steps).flops * micro_steps * self.machine.devices
        return Setting(sharded, checkpointing, micro_steps, total, flops, total <= self.machine.memory)

    def memory(self, sharded: bool, checkpointing: Checkpointing, micro_steps: int) -> Memory:
        """As if all gradients were there from the start of backward, which is so from the second micro-step on."""
        parts = self.machine.devices if sharded else 1
        weights, gradients = _bytes(self.network, parts)
        copies = int(self.recipe.ema > 0) + int(self.recipe.choose == "best")
        averaged, others = copies * weights, 0
        for network in self.others.values():
            more, theirs = _bytes(network, parts)
            others += more
            gradients += theirs if self.method.needs == "peer" else 0
        step = self._cost(checkpointing, micro_steps)
        return Memory(
            weights=weights,
            gradients=gradients,
            optimizer=STATE_TENSORS[self.recipe.optimizer.name] * gradients,
            averaged=averaged,
            others=others,
            activations=step.saved,
            working=step.peak - step.saved,
        )

    def _cost(self, checkpointing: Checkpointing, micro_steps: int) -> Cost:
        """Of a micro-step. Cost is linear in groups: the line through one group and the recipe's own number."""
        groups, most = self.groups_per_device // micro_steps, self.groups_per_micro_step
        if groups in (1, most):
            return self._count(checkpointing, groups)
        one, all_groups = self._count(checkpointing, 1), self._count(checkpointing, most)
        ends = zip(dataclasses.astuple(one), dataclasses.astuple(all_groups), strict=True)
        return Cost(*(low + (high - low) * (groups - 1) // (most - 1) for low, high in ends))

    def _count(self, checkpointing: Checkpointing, groups: int) -> Cost:
        key = checkpointing, groups
        if key not in self.counted:
            for network in (self.network, *(self.others.values() if self.method.needs == "peer" else ())):
                state(network).checkpointing = checkpointing
            with self.mode:
                everything = nn.ModuleList([self.network, *self.others.values()])
                self.counted[key] = cost(everything, lambda: self._loss(groups))
        return self.counted[key]

    def _loss(self, groups: int) -> Tensor:
        recipe, images = self.recipe, groups * self.recipe.group_size
        batch = torch.empty(images, 3, recipe.resolution, recipe.resolution)
        targets = torch.empty(images, self.classes)
        if isinstance(recipe.task, Segmentation):
            targets = torch.zeros(images, recipe.resolution, recipe.resolution, dtype=torch.uint8)
        # Shapes alone matter, and one draw for all groups has those of as many draws put together.
        submodel = draw(groups * self.rows, [groups * count for count in self.kept], torch.Generator())
        low = self.precision != "fp32"
        with active(self.network, submodel), torch.autocast("cpu", _TYPES[self.precision], enabled=low):
            peer = self.others.get("peer")
            with active(peer, submodel) if peer is not None else nullcontext():
                return self.method({"network": self.network, **self.others}, batch, targets)[0]


def _bytes(network: nn.Module, parts: int) -> tuple[int, int]:
    """Of the weights, and of the gradients of those that have one."""
    weights = sum(_part(parameter, parts) for parameter in network.parameters())
    weights += sum(buffer.nbytes for buffer in network.buffers())
    return weights, sum(_part(parameter, parts) for parameter in network.parameters() if parameter.requires_grad)


def _part(parameter: nn.Parameter, parts: int) -> int:
    """Bytes of the first and largest part of a parameter, which FSDP2 cuts along its first dimension."""
    length = parameter.shape[0] if parameter.dim() else 1
    return math.ceil(length / parts) * (parameter.nbytes // length)


def _size(recipe: Recipe, images: int | None) -> Size:
    data = recipe.data
    require(images is None or images >= 1, "images", images, "must be 1 or more")
    known = (IMAGES.get(recipe.classes, IMAGES[IMAGENET]), recipe.classes or IMAGENET)
    if isinstance(data, Scenes):
        known = (ADE20K_IMAGES, recipe.classes or data.num_classes)
    if isinstance(data, Digits):  # as scikit-learn rounds the share
        known = (_DIGITS - math.ceil(data.test_share * _DIGITS), recipe.classes or 10)
    origin: Known = "given" if images else "source" if isinstance(data, Digits) else "assumed"
    return Size(images or known[0], known[1], origin)


def _rates(recipe: Recipe, per_epoch: int) -> Iterator[Rate]:
    """The learning rate at the ends of the run and of warm-up, and at its quarters, in the order of steps."""
    last = recipe.epochs * per_epoch - 1
    places = [(f"{quarter:.0%}", round(quarter * last)) for quarter in (0, 0.25, 0.5, 0.75, 1)]
    places.append(("warm-up ends", min(warmup_steps(recipe, per_epoch), last)))
    for place, step in sorted(places, key=lambda item: item[1]):
        yield Rate(place, step, learning_rate(recipe, step, per_epoch))
