"""What slimming takes out as one: a whole block, or a single residual layer."""

import functools
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass

import torch
from torch import nn

from cosub.choices import Unit
from cosub.errors import InputError
from cosub.runs.folder import Trained
from cosub.runs.network import create, settings_of
from cosub.slimming.scorer import Layers, blocks_of
from cosub.twins import TWINS, removal
from cosub.twins.classes import class_of
from cosub.twins.depth import depth_without
from cosub.twins.factors import can_fold
from cosub.twins.twin import Twin

Chosen = tuple[int, ...]  # numbers of units, ascending


@dataclass(frozen=True)
class Units:
    """The units of a network in order, and which of them may be left together."""

    kind: Unit
    layers: tuple[Layers, ...]
    """The residual layers of each."""
    may_remain: Callable[[Chosen], bool] = lambda _: True

    def __len__(self) -> int:
        return len(self.layers)

    @property
    def everything(self) -> Chosen:
        return tuple(range(len(self)))

    @functools.cached_property
    def least(self) -> int:
        """As few as may be left."""
        return len(self.shrink(self.everything, self.everything, 1))

    def layers_of(self, chosen: Chosen) -> Layers:
        return tuple(sorted(layer for unit in chosen for layer in self.layers[unit]))

    def shrink(self, chosen: Chosen, order: Sequence[int], number: int) -> Chosen:
        """So many of the chosen ones: again and again the last in the order that may go is taken out; fewer do not."""
        while len(chosen) > number:
            options = (without(chosen, unit) for unit in reversed(order) if unit in chosen)
            smaller = next(filter(self.may_remain, options), None)
            if smaller is None:
                break
            chosen = smaller
        return chosen

    def check(self, name: str, numbers: Sequence[int]) -> None:
        """That so many units may be kept.

        Raises:
            InputError: naming the option, for a number that they cannot be.
        """
        what, more = f"{len(self)} residual layers", ""
        if self.kind == "block":
            what = f"{len(self)} blocks"
            more = f", or count its {sum(map(len, self.layers))} residual layers with --unit layer"
        for number in numbers:
            if not self.least <= number <= len(self):
                raise InputError(
                    f"{name}: {number}: the network has {what}; keep {self.least} to {len(self)} of them{more}"
                )


def without(chosen: Chosen, one: int) -> Chosen:
    return tuple(unit for unit in chosen if unit != one)


def single_layers(number: int) -> Units:
    """Each residual layer for itself; any of them may be left."""
    return Units("layer", tuple((layer,) for layer in range(number)))


def counted_by(units: Units, option: str) -> str:
    """The kind of units that was taken, and what the option that counts them counts."""
    number = sum(map(len, units.layers))
    if units.kind == "layer":
        return f"layer; --{option} counts residual layers, of which this network has {number}"
    return (
        f"block; --{option} counts blocks, of which this network has {len(units)} (--unit layer counts its {number} "
        "residual layers)"
    )


def units_of(trained: Trained, wanted: Unit | None) -> Units:
    """The units of a run's network: those that are wanted, or blocks where the depth of timm's model can express it.

    Where it can, blocks are only taken out so that it still does. A block whose shortcut changes the shape stays.
    """
    blocks = blocks_of(trained.network)
    layers = tuple(_layers(block) for block in blocks)
    full = _full(trained)
    gone_before = {name for name, module in full.named_modules() if module in removal.blocks_of(full)}
    names = {module: name for name, module in trained.network.named_modules()}
    gone_before -= {names[block] for block in blocks}
    by_depth = _by_depth(full, gone_before, blocks)
    if wanted == "layer" or (wanted is None and not by_depth):
        return single_layers(sum(map(len, layers)))

    def may_remain(chosen: Chosen) -> bool:
        gone = [block for number, block in enumerate(blocks) if number not in chosen]
        if not chosen or not all(block.vanishes(block) for block in gone):
            return False
        return not by_depth or depth_without(full, gone_before | {names[block] for block in gone}) is not None

    return Units("block", layers, may_remain)


def _layers(block: Twin) -> Layers:
    return tuple(range(block.cosub.first_layer, block.cosub.first_layer + block.cosub.num_layers))


def _full(trained: Trained) -> nn.Module:
    """timm's model of a run, with all its blocks and no memory."""
    recipe = trained.recipe
    with torch.device("meta"):
        return create(recipe.model, recipe.resolution, len(trained.classes), settings_of(recipe))


def _by_depth(full: nn.Module, gone: Set[str], blocks: Sequence[Twin]) -> bool:
    """Whether a network without these blocks is timm's model of a smaller depth, and its branches take a factor."""
    whole = not any(block.cosub.absent for block in blocks)
    folds = all(can_fold(block, range(TWINS[class_of(block)].layers_of(block))) for block in removal.blocks_of(full))
    return whole and folds and depth_without(full, gone) is not None
