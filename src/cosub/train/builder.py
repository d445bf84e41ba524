"""Builds the networks of a run. A new run reads weights; a continued one loads its checkpoint afterwards."""

import copy
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from cosub.attachment import state
from cosub.data.imagenet import IMAGENET, in_imagenets_order, synsets
from cosub.recipes.recipe import Recipe
from cosub.runs.distributed import World
from cosub.runs.progress import Reporter
from cosub.runs.published import look_up, prepared_otherwise
from cosub.seeds import derive
from cosub.train.methods import Method
from cosub.train.methods.teacher import TEACHER
from cosub.train.networks import AVERAGED, BEST, STUDENT, Average, Networks
from cosub.train.probing import fit_heads, unfitted
from cosub.train.tasks import Task
from cosub.train.teachers import Teacher, load_teacher
from cosub.weights.heads import head_names
from cosub.weights.loading import load_weights


def build_student(task: Task, seed: int, world: World) -> nn.Module:
    """The recipe's network, initialised from a seed; no weights are read."""
    network = task.network(seed, world)
    state(network).checkpointing = task.recipe.runtime.checkpointing
    return network


@dataclass(frozen=True)
class RunBuilder:
    """The `Builder` of training. `facts` are those of a checkpoint; None for a new run.

    A continued run reads neither the recipe's weights nor its teacher, whose files may no longer exist.
    """

    task: Task
    student: nn.Module
    world: World
    out: Path
    reporter: Reporter
    facts: Mapping[str, Any] | None = None

    @property
    def recipe(self) -> Recipe:
        return self.task.recipe

    def continuing(self, facts: Mapping[str, Any]) -> "RunBuilder":
        """The builder of a run that continues from a checkpoint with these facts."""
        return dataclasses.replace(self, facts=facts)

    def networks(self, method: Method) -> Networks:
        """All networks of the run, not yet compiled or sharded, so that they can be copied.

        Raises:
            InputError: for weights or a teacher that cannot be read or do not fit.
        """
        if self.facts is None and self.recipe.weights:
            self.reporter.say(f"weights: starting from {self.recipe.weights}")
            if caution := prepared_otherwise(self.recipe):
                self.reporter.warn(caution)
        self._read_weights(STUDENT, self.student)
        found = Networks({STUDENT: self.student}).joined(method.networks(self))
        if self.recipe.ema:
            found.others[AVERAGED] = Average(self.student, self.recipe.ema)
        if self.recipe.choose == "best":
            found.others[BEST] = copy.deepcopy(self.student).eval().requires_grad_(False)
        return found

    def another(self, name: str) -> nn.Module:
        network = build_student(self.task, derive(name, self.recipe.seed), self.world)
        self._read_weights(name, network)
        return network

    def average(self, momentum: float) -> nn.Module:
        return Average(self.student, momentum).eval()

    def teacher(self, source: str) -> nn.Module:
        if self.facts is not None:
            return Teacher(self.facts[TEACHER]).to(self.world.device)
        recipe, classes = self.recipe, self.task.source.classes
        teacher, messages = load_teacher(source, classes, recipe.resolution, self.out, recipe.inputs)
        for message in messages:
            self.reporter.say(message)
        return teacher.to(self.world.device)

    def _read_weights(self, name: str, network: nn.Module) -> None:
        recipe, of = self.recipe, "" if name == STUDENT else f" of the {name}"
        if self.facts is not None:
            return
        if recipe.weights:
            for message in self._load_weights(self.task.pretrained(network)):
                self.reporter.say(f"weights{of}: {message}")
        if recipe.head == "probe" and (heads := unfitted(network, recipe)):
            self.reporter.say(f"head{of}: fitting it to the features of the training images")
            message = fit_heads(network, heads, self.task.source.train, recipe, self.world)
            self.reporter.say(f"head{of}: {message}")

    def _load_weights(self, model: nn.Module) -> list[str]:
        """`load_weights`, without a classifier that is for other classes: as many of them would fit."""
        heads = tuple(f"{name}." for name in head_names(model))
        before = {name: value.clone() for name, value in model.state_dict().items() if name.startswith(heads)}
        messages = load_weights(model, self.recipe.weights)
        theirs, ours = look_up(self.recipe.weights, self.recipe.model).names, self.task.source.classes
        if not theirs and len(ours) == IMAGENET and not in_imagenets_order(ours):
            theirs = synsets()
        odd = next((pair for pair in zip(theirs, ours, strict=False) if pair[0] != pair[1]), None)
        if before and odd and len(theirs) == len(ours):
            model.load_state_dict(before, strict=False)
            messages.append(f"classifier dropped: it is for other classes ({odd[0]!r}, where the data have {odd[1]!r})")
        return messages
