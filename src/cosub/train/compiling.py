"""Compiled blocks in a run: decided once, tried before the first step, removed while a step is examined."""

import time
from collections.abc import Callable

import torch
from torch import nn

from cosub.attachment import active, state
from cosub.choices import BY_CHANCE
from cosub.errors import InputError, RunError
from cosub.recipes.recipe import Recipe
from cosub.runs.distributed import World
from cosub.runs.progress import Reporter
from cosub.train.checkpoint import Checkpoint
from cosub.train.compile_choice import Choice, Work, choose
from cosub.train.micro_step import MicroStep
from cosub.train.networks import STUDENT, Networks
from cosub.train.parallel import sum_of_outputs
from cosub.twins.compilation import compile_blocks, uncompile_blocks
from cosub.twins.state import Step


class Compilation:
    """Whether the blocks of a run are compiled."""

    def __init__(self, recipe: Recipe, world: World, reporter: Reporter) -> None:
        self.recipe, self.world, self.reporter = recipe, world, reporter
        self.on = False
        self.removed: dict[str, Step] = {}

    def decide(self, steps: int, work: Callable[[], Work], found: Checkpoint | None) -> None:
        """Decide as the recipe says. With "auto", a continued run stays as it was begun.

        Args:
            steps: of the whole run.
            work: counts a step; called only if the rule decides.
            found: the checkpoint that the run continues from.

        Raises:
            InputError: if compiling is on and shapes differ from step to step.
        """
        recipe, device = self.recipe, self.world.device.type
        wanted = recipe.runtime.compile
        if wanted == "on" and recipe.rounding in BY_CHANCE:
            raise InputError(
                f"compile: on: rounding {recipe.rounding} keeps another number of rows in every step; take auto or off"
            )
        choice = choose(wanted, recipe.rounding, device, steps, work)
        if wanted == "auto" and device == "cuda" and recipe.rounding not in BY_CHANCE:
            if found is not None:  # checkpoints from before the rule do not state it: all were compiled
                began = found.counters.get("compiled", True)
                choice = Choice(began, f"auto: {'on' if began else 'off'}, as the run was begun")
            self.reporter.say(f"compile: {choice.why}")
        self.on = choice.compiled

    def apply(self, networks: Networks) -> None:
        """Compile the blocks of all trained networks, if it was decided so. What was removed has its graphs already."""
        if not self.on:
            return
        for name, network in networks.trained.items():
            if name in self.removed:
                state(network).run = self.removed.pop(name)
            else:
                compile_blocks(network)

    def remove(self, networks: Networks) -> None:
        """Run the blocks uncompiled, until `apply` puts back what is removed."""
        for name, network in networks.trained.items():
            if run := state(network).run:
                self.removed[name] = run
            uncompile_blocks(network)

    def rehearse(self, networks: Networks, micro_step: MicroStep) -> None:
        """Try the compiled blocks before the first step; continue uncompiled if they fail.

        Raises:
            RunError: if they fail and the recipe requires compiled blocks.
            OutOfMemoryError: if memory is too small.
        """
        if not self.on:
            return
        started, stats = time.perf_counter(), torch._dynamo.utils.counters["stats"]
        before = stats["unique_graphs"]
        try:
            for network in networks.trained.values():
                rehearse(network, networks, micro_step)
            graphs, seconds = stats["unique_graphs"] - before, time.perf_counter() - started
            self.reporter.say(f"compiled: {graphs} graph{'s' * (graphs != 1)} in {seconds:.0f} s")
        except torch.OutOfMemoryError:  # uncompiled blocks store more
            raise
        except Exception as error:  # of any kind, from the compiler
            reason = " ".join(str(error).split())[:200]
            if self.recipe.runtime.compile == "on":
                raise RunError(
                    f"compile: on: the blocks cannot be compiled here ({reason}); take auto or off"
                ) from error
            self.on = False
            self.remove(networks)
            self.reporter.warn(f"continuing uncompiled, because the blocks cannot be compiled here ({reason})")


def rehearse(network: nn.Module, networks: Networks, micro_step: MicroStep) -> None:
    """One forward and backward on blank images, which leaves the network unchanged, also where it fails."""
    before = {key: buffer.clone() for key, buffer in network.named_buffers()}
    recipe, groups, device = micro_step.task.recipe, micro_step.share.groups(0), micro_step.device
    size = len(groups) * recipe.group_size, 3, recipe.resolution, recipe.resolution
    network.train()
    try:
        with active(network, micro_step.submodel(networks, STUDENT, 0, groups)), micro_step.autocast():
            outputs = network(torch.zeros(size, device=device))
        sum_of_outputs(outputs).backward()
    finally:
        network.zero_grad(set_to_none=True)
        for name, buffer in network.named_buffers():
            buffer.copy_(before[name])
