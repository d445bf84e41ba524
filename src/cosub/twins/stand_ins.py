"""Stand-ins for removed branches in timm's own blocks: derived from the twins, as data that JSON can hold."""

from collections.abc import Mapping, Sequence

from torch import nn

from cosub.twins import TWINS
from cosub.twins.classes import class_of
from cosub.twins.twin import Twin

StandIns = dict[str, str | float | list[str]]

_SLOTS = ("drop_path", "drop_path1", "drop_path2", "drop_path3")


def stand_ins(model: nn.Module, removed: Mapping[str, Sequence[int]], scaled: Mapping[str, float]) -> StandIns:
    """What `runs.standalone.replace` puts into a timm model, by name, so that its own forward is that of a submodel.

    Args:
        model: timm's full model, not attached.
        removed: by name of the block, the indices in it of the residual layers that are removed.
        scaled: by name of the block, the factor of its branches.

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
        if around is not None and len(layers) == len(twin.branches):
            found[name] = [*around]
            continue
        for layer in layers:
            reshaped = layer == 0 and around != ()  # the shortcut may change the shape; a scalar adds to any
            zeroed = _zeroed(block, twin, layer, "scalar zero" if reshaped else "zero")
            found |= {f"{name}.{part}": kind for part, kind in zeroed.items()}
    return found


def slots_of(block: nn.Module) -> list[str]:
    """Names of a block's drop path modules; without a rate, some blocks hold None there."""
    return [name for name in _SLOTS if hasattr(block, name)]


def _zeroed(block: nn.Module, twin: type[Twin], layer: int, zero: str) -> dict[str, str]:
    """Stand-ins that make one branch zero: its last module returns zero, those before it return their input."""
    names = dict.fromkeys(path.partition(".")[0] for path in twin.branches_of(block)[layer])
    parts = {name: part for name in names if (part := getattr(block, name, None)) is not None}
    *others, last = [name for name, part in parts.items() if isinstance(part, nn.Module)]
    factors = {name: "one" for name in parts if name not in (*others, last)}
    return {**dict.fromkeys(others, "pass"), last: zero, **factors}
