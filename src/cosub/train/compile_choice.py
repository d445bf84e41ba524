"""Whether compiling saves time (`--compile auto`): a rule that depends on the recipe alone.

Compiling fuses the passes over memory between the matrix products, so what it saves grows with the number of values
that the residual layers process. On an H200 in bf16 it was 0.042 to 0.052 ns per value and step, in five rows from
ViT-S to ViT-H (LOG.md, 2026-11-26). Small networks also save the host's time, which is not counted. One graph took 4 to
6 s to compile there, 11 s the first time in a process.
"""

import math
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cosub.attachment import state
from cosub.choices import BY_CHANCE, Compile, Rounding
from cosub.recipes.recipe import Recipe
from cosub.runs.network import build_network, evaluating
from cosub.train.methods import Method
from cosub.train.networks import Networks
from cosub.twins.compilation import structure
from cosub.twins.twin import Twin

SAVED = 4.5e-11  # seconds per value of the stream that a residual layer processes
STARTING, COMPILING = 10.0, 5.0  # seconds: once, and per signature


@dataclass(frozen=True)
class Work:
    """What a training step means for a compiler."""

    values: int
    """Values of the residual stream in the kept rows, summed over the residual layers."""
    signatures: int
    """Graphs to compile: blocks that differ in structure, shape of the input or number of kept rows."""

    @property
    def saved(self) -> float:
        """Seconds that compiling saves per step."""
        return SAVED * self.values

    @property
    def seconds(self) -> float:
        """Seconds that compiling takes."""
        return STARTING + COMPILING * self.signatures


@dataclass(frozen=True)
class Choice:
    """Whether blocks are compiled, and the reason for a message."""

    compiled: bool
    why: str


def choose(wanted: Compile, rounding: Rounding, device: str, steps: int, work: Callable[[], Work]) -> Choice:
    """What `--compile` means for a run. `work` is called only if the choice depends on it.

    Args:
        wanted: the recipe's value.
        rounding: the recipe's; where rows are kept independently, their number differs from step to step.
        device: the type of the device, as torch calls it.
        steps: of the whole run, not the remaining ones.
        work: counts a step of the recipe.
    """
    if wanted != "auto":
        return Choice(wanted == "on", f"{wanted}, as set")
    if rounding in BY_CHANCE:
        return Choice(False, f"auto: off, because rounding {rounding} keeps another number of rows in every step")
    if device != "cuda":
        return Choice(False, "auto: off, because it compiles only on a GPU")
    found = work()
    saved = steps * found.saved
    pays = saved > found.seconds
    return Choice(
        pays,
        f"auto: {'on' if pays else 'off'}, because {steps:,} steps save about {saved:,.1f} s, and compiling takes "
        f"about {found.seconds:.0f} s (signatures: {found.signatures})",
    )


@torch.no_grad()
def count_work(network: nn.Module, resolution: int, group_rows: int, groups: int, networks: int = 1) -> Work:
    """Count a step by one forward pass of one image, in eval mode. Leaves the network unchanged.

    Args:
        network: attached; it needs no memory (meta device, or fake tensors in their mode).
        resolution: height and width of images, in pixels.
        group_rows: rows per group, copies included.
        groups: groups per step.
        networks: how many such networks are trained.
    """
    kept = state(network).kept(group_rows)
    values, signatures = 0, set[Hashable]()

    def note(block: Twin, given: tuple[Any, ...]) -> None:
        nonlocal values
        x: Tensor = given[0]
        first = block.cosub.first_layer
        counts = kept[first : first + block.cosub.num_layers]
        values += sum(counts) * math.prod(x.shape[1:])
        signatures.add((structure(block), x.shape[1:], counts))

    handles = [block.register_forward_pre_hook(note) for block in _blocks(network)]
    try:
        with evaluating(network):
            network(torch.empty(1, 3, resolution, resolution, device=next(network.parameters()).device))
    finally:
        for handle in handles:
            handle.remove()
    return Work(values * groups * networks, len(signatures) * networks)


def work_of(recipe: Recipe, classes: int, method: Method, networks: Networks) -> Work:
    """The work of a step of a recipe whose method trains these networks, counted without memory."""
    with torch.device("meta"):
        network = build_network(recipe, classes, method.copies)
    rows = method.copies * recipe.group_size
    return count_work(network, recipe.resolution, rows, recipe.num_groups, len(networks.trained))


def _blocks(network: nn.Module) -> Iterable[Any]:
    return (module for module in network.modules() if isinstance(module, Twin) and module.cosub.num_layers)
