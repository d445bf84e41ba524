"""Modules that take the place of branches in timm's own blocks: derived from the twins, as data that JSON can hold."""

from collections.abc import Mapping, Sequence

from torch import nn

from cosub.twins import TWINS
from cosub.twins.classes import class_of
from cosub.twins.twin import Twin

StandIns = dict[str, str | float | list[str]]

_SLOTS = ("drop_path", "drop_path1", "drop_path2", "drop_path3")


def stand_ins(model: nn.Module, removed: Mapping[str, Sequence[int]], scaled: Mapping[str, float]) -> StandIns:
    """What `runs.standalone.replace` puts where in a timm model, so that its own forward is that of a submodel.

    Args:
        model: timm's full model, not attached.
        removed: names of blocks, and the numbers of the residual layers that each has lost.
        scaled: names of blocks, and the factor of their branches.

    Raises:
        AttributeError, KeyError, IndexError: if the model has no such block, with a twin, or no such layer.
    """
    found: StandIns = {}
    for name, factor in scaled.items():
        block = model.get_submodule(name)
        found |= {f"{name}.{slot}": float(factor) for slot in slots_of(block)}
    for name, layers in removed.items():
        block = model.get_submodule(name)
        twin = TWINS[class_of(block)]
        around = twin.around_of(block)
        if around is not None and len(layers) == twin.layers:
            found[name] = [*around]
            continue
        for layer in layers:
            reshaped = layer == 0 and around != ()  # by the shortcut, which a zero of any shape leaves as it is
            silent = _silent(block, twin, layer, "scalar zero" if reshaped else "zero")
            found |= {f"{name}.{part}": kind for part, kind in silent.items()}
    return found


def slots_of(block: nn.Module) -> list[str]:
    """Where timm would drop the branches of a block; None stands in some where there is no rate."""
    return [name for name in _SLOTS if hasattr(block, name)]


def _silent(block: nn.Module, twin: type[Twin], layer: int, zero: str) -> dict[str, str]:
    """One branch without parameters: its last module gives zero, those before it pass on what they get."""
    names = dict.fromkeys(path.partition(".")[0] for path in twin.branches_of(block)[layer])
    parts = {name: part for name in names if (part := getattr(block, name, None)) is not None}
    *others, last = [name for name, part in parts.items() if isinstance(part, nn.Module)]
    factors = {name: "one" for name in parts if name not in (*others, last)}
    return {**dict.fromkeys(others, "pass"), last: zero, **factors}
