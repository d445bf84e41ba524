"""What a micro-step of a recipe takes, counted on tensors without memory: FLOPs, and bytes on one device."""

import dataclasses
import itertools
import math
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from cosub.attachment import active, state
from cosub.choices import Checkpointing, Precision
from cosub.recipes.config import Recipe
from cosub.runs.counting import Cost, without_memory
from cosub.runs.counting import cost as count_cost
from cosub.runs.network import build_network
from cosub.submodel import draw
from cosub.train.compile_choice import Choice, Work, choose, count_work
from cosub.train.machine import Machine
from cosub.train.methods.alike import Alike
from cosub.train.networks import STUDENT, Networks
from cosub.train.optim import STATE_TENSORS
from cosub.train.steps import share
from cosub.train.tasks import task_type
from cosub.train.teachers import Teacher, describe

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


class Estimate:
    """A recipe's micro-step on tensors without memory, and what follows from its cost."""

    def __init__(self, recipe: Recipe, machine: Machine, classes: int) -> None:
        self.recipe, self.machine, self.classes = recipe, machine, classes
        self.groups_per_micro_step = len(share(recipe, 0, machine.devices).groups(0))
        self.groups_per_device = recipe.num_groups // machine.devices
        self.precision: Precision = recipe.precision
        if recipe.precision == "auto":
            self.precision = "fp32" if recipe.runtime.device == "cpu" else "bf16"
        self.task = task_type(recipe)
        self.method = self.task.method(recipe)
        with torch.device("meta"):
            self.network = build_network(recipe, classes, self.method.copies)
            builder = _Described(self.network, self._another, recipe, classes)
            self.networks = Networks({STUDENT: self.network}).joined(self.method.networks(builder))
        self.rows = self.method.copies * recipe.group_size
        self.kept = state(self.network).kept(self.rows)
        self.mode = FakeTensorMode()
        with self.mode:
            for network in self.networks.trained.values():
                without_memory(network).train()
            for network in self.networks.others.values():
                without_memory(network).eval()
        self.counted: dict[tuple[Checkpointing, int], Cost] = {}

    def compiled(self, steps: int) -> Choice:
        """What training decides. Device auto is planned as a GPU."""
        recipe, runtime = self.recipe, self.recipe.runtime
        device = "cpu" if runtime.device == "cpu" else "cuda"
        return choose(runtime.compile, recipe.rounding, device, steps, self._work)

    def _work(self) -> Work:
        trained = len(self.networks.trained)
        with self.mode:
            return count_work(self.network, self.recipe.resolution, self.rows, self.recipe.num_groups, trained)

    def _another(self) -> nn.Module:
        return build_network(self.recipe, self.classes, self.method.copies)

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
        flops = self.cost(checkpointing, micro_steps).flops * micro_steps * self.machine.devices
        return Setting(sharded, checkpointing, micro_steps, total, flops, total <= self.machine.memory)

    def memory(self, sharded: bool, checkpointing: Checkpointing, micro_steps: int) -> Memory:
        """As if all gradients were there from the start of backward, which is so from the second micro-step on."""
        parts = self.machine.devices if sharded else 1
        trained = [_bytes(network, parts) for network in self.networks.trained.values()]
        weights, gradients = trained[0][0], sum(theirs for _, theirs in trained)
        copies = int(self.recipe.ema > 0) + int(self.recipe.choose == "best")
        others = sum(_bytes(network, parts)[0] for network in self.networks.all.values()) - weights
        step = self.cost(checkpointing, micro_steps)
        return Memory(
            weights=weights,
            gradients=gradients,
            optimizer=STATE_TENSORS[self.recipe.optimizer.name] * gradients,
            averaged=copies * weights,
            others=others,
            activations=step.saved,
            working=step.peak - step.saved,
        )

    def cost(self, checkpointing: Checkpointing, micro_steps: int) -> Cost:
        """Of a micro-step. Cost is linear in groups: the line through one group and the recipe's own number."""
        groups, most = self.groups_per_device // micro_steps, self.groups_per_micro_step
        if groups in (1, most):
            return self.count(checkpointing, groups)
        one, all_groups = self.count(checkpointing, 1), self.count(checkpointing, most)
        ends = zip(dataclasses.astuple(one), dataclasses.astuple(all_groups), strict=True)
        return Cost(*(low + (high - low) * (groups - 1) // (most - 1) for low, high in ends))

    def count(self, checkpointing: Checkpointing, groups: int) -> Cost:
        key = checkpointing, groups
        if key not in self.counted:
            for network in self.networks.trained.values():
                state(network).checkpointing = checkpointing
            with self.mode:
                everything = nn.ModuleList(self.networks.all.values())
                self.counted[key] = count_cost(everything, lambda: self._loss(groups))
        return self.counted[key]

    def _loss(self, groups: int) -> Tensor:
        recipe, images = self.recipe, groups * self.recipe.group_size
        batch = torch.empty(images, 3, recipe.resolution, recipe.resolution)
        targets = self.task.empty_targets(recipe, images, self.classes)
        # Shapes alone matter, and one draw for all groups has those of as many draws put together.
        submodel = draw(groups * self.rows, [groups * count for count in self.kept], torch.Generator())
        low = self.precision != "fp32"
        with ExitStack() as stack, torch.autocast("cpu", _TYPES[self.precision], enabled=low):
            for network in self.networks.trained.values():
                stack.enter_context(active(network, submodel))
            return self.method(self.networks.all, batch, targets)[0]


@dataclass(frozen=True)
class _Described(Alike):
    """Of a teacher its description is read, not its weights. An average is as large as the student."""

    recipe: Recipe
    classes: int

    def average(self, momentum: float) -> nn.Module:
        return self.make()

    def teacher(self, source: str) -> nn.Module:
        about = describe(source, self.recipe.resolution, self.recipe.inputs)
        return Teacher({**about, "classes": self.classes})


def _bytes(network: nn.Module, parts: int) -> tuple[int, int]:
    """Of the weights, and of the gradients of those that have one."""
    weights = sum(_part(parameter, parts) for parameter in network.parameters())
    weights += sum(buffer.nbytes for buffer in network.buffers())
    return weights, sum(_part(parameter, parts) for parameter in network.parameters() if parameter.requires_grad)


def _part(parameter: nn.Parameter, parts: int) -> int:
    """Bytes of the first and largest part of a parameter, which FSDP2 cuts along its first dimension."""
    length = parameter.shape[0] if parameter.dim() else 1
    return math.ceil(length / parts) * (parameter.nbytes // length)
