"""Remove residual layers from a timm model, with their parameters; all other names stay."""

from collections.abc import Iterable
from typing import TypeVar

from torch import nn

from cosub.twins import TWINS
from cosub.twins.classes import class_of
from cosub.twins.twin import Twin

Model = TypeVar("Model", bound=nn.Module)


def remove_layers(model: Model, kept: Iterable[int]) -> Model:
    """Keep only the given residual layers of a timm model, in place, before it is attached.

    A block that loses all its layers disappears, unless its shortcut changes the shape: then the shortcut stays. A
    block that loses some of them has to run as a twin, which skips them. Names in `state_dict` stay those of the full
    model: without block 8, blocks.7 is followed by blocks.9.

    Args:
        model: a timm model of a supported family, not attached.
        kept: indices of residual layers in the order in which they run.

    Raises:
        ValueError: if a layer does not exist, none is kept, or the model is not of timm.
    """
    chosen, blocks = set(kept), blocks_of(model)
    if not blocks or any(type(block).__module__.split(".")[0] not in ("timm", "cosub") for block in blocks):
        raise ValueError(
            f"layers can be removed from timm's networks alone, if their blocks have twins, and {type(model).__name__} "
            "is not one of these"
        )
    total = sum(TWINS[class_of(block)].layers_of(block) for block in blocks)
    if unknown := sorted(chosen - set(range(total))):
        raise ValueError(f"there are residual layers 0 to {total - 1}, got {unknown}")
    if not chosen:
        raise ValueError("no residual layer is kept: keep at least one")
    gone, first = set(), 0
    for block in blocks:
        twin = TWINS[class_of(block)]
        layers = twin.layers_of(block)
        absent = frozenset(layer for layer in range(layers) if first + layer not in chosen)
        first += layers
        if len(absent) == layers and twin.vanishes(block):
            gone.add(block)
        else:
            _strip(block, twin, absent)
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if child in gone:
                del parent._modules[name]  # `del sequential[i]` would renumber the others
    return model


def blocks_of(model: nn.Module) -> list[nn.Module]:
    """The blocks of a timm model that become twins, in the order in which they run."""
    return [
        module for module in model.modules() if class_of(module) in TWINS and TWINS[class_of(module)].layers_of(module)
    ]


def absent_of(block: nn.Module) -> frozenset[int]:
    """The branches that were removed from a block, by their index in it."""
    return vars(block).get("absent_branches", frozenset())


def _strip(block: nn.Module, twin: type[Twin], absent: frozenset[int]) -> None:
    block.absent_branches = absent  # pyright: ignore[reportArgumentType]
    for branch in absent:
        for path in twin.branches_of(block)[branch]:
            parent, _, name = path.rpartition(".")
            owner = block.get_submodule(parent)
            held = getattr(owner, name, None)
            if isinstance(held, nn.Module):
                setattr(owner, name, nn.Identity())
            elif held is not None:
                setattr(owner, name, None)
