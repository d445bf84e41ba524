"""Load pretrained weights into a timm model, from files, run folders, timm's names or the Hub, and report adaptations.

Nothing that could run code is read: only tensors from files (`weights_only=True`), only safetensors from the Hub.
"""

import inspect
import math
import sys
import warnings
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from timm.layers.pos_embed import resample_abs_pos_embed, resample_abs_pos_embed_nhwc
from torch import Tensor, nn

from cosub.errors import InputError
from cosub.weights.heads import head_names
from cosub.weights.naming import Report, Weights, plain, renamed
from cosub.weights.opening import opener

Size = tuple[int, int]

_COMMON = 0.1  # with fewer names in common, weights are of another library or architecture

# What timm's readers raise for the weights of another architecture.
_FOREIGN = (AttributeError, KeyError, IndexError, TypeError, ValueError, AssertionError, RuntimeError)


def load_weights(model: nn.Module, source: str | Path, with_head: bool = False) -> list[str]:
    """Load pretrained weights into a timm model, attached or not, in place.

    Names and shapes of other releases are translated by timm's code for the family. The position embedding is resampled
    to the model's grid: bicubic, with antialiasing where it shrinks (DeiT-III's code has none), from a square grid
    where the number of tokens allows it. The model keeps its head where the weights have none of its number of classes.

    Args:
        model: any timm model, not yet compiled or sharded.
        source: a file (safetensors, or .pth as DeiT, DeiT-III, CaiT and others publish them), a folder with
            model.safetensors (a run's, or one that timm wrote), "timm:NAME.TAG" or the name alone, "hf-hub:OWNER/NAME".
        with_head: the weights must have a head for the model's number of classes.

    Returns:
        A line for each adaptation; none where the weights fit as they are.

    Raises:
        InputError: if there is no such source, it cannot be read, could run code or is not finite, or its names and
            shapes are not those of the model, which is then unchanged.
    """
    messages: list[str] = []
    weights = plain(opener(source)(), source, messages.append)
    weights = renamed(weights, model, messages.append)
    weights = _translate(weights, model, messages.append)
    _fit_position(weights, model, messages.append)
    _fit_norm(weights, model, messages.append)
    fresh = _fit_heads(weights, model, messages.append)
    _require_fit(weights, model, source, fresh)
    if with_head and fresh:
        raise InputError(f"weights: {source}: are not a trained classifier of this network ({messages[-1]})")
    model.load_state_dict(weights, strict=False)
    return messages


# --- fit


def _translate(weights: Weights, model: nn.Module, report: Report) -> Weights:
    """Weights of other releases with the model's names and shapes, by timm's function for the family."""
    reader = _reader(model)
    if reader is None:
        return weights
    before = {name: value for name, value in weights.items() if name != "pos_embed"}  # resampled by _fit_position
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of torch, about how timm resamples Swin's and BEiT's tables
        try:
            after = reader(dict(before))
        except _FOREIGN:  # _require_fit names what differs
            return weights
    _report_changes(before, after, report)
    return after | {name: weights[name] for name in ("pos_embed",) if name in weights}


def _reader(model: nn.Module) -> Callable[[Weights], Weights] | None:
    module = sys.modules[_timm_class(model).__module__]
    found = getattr(module, "checkpoint_filter_fn", None) or getattr(module, "_filter_fn", None)
    if found is None:
        return None
    takes = inspect.signature(found).parameters
    settings: dict[str, Any] = {"model": model} if "model" in takes else {}
    if "adapt_layer_scale" in takes:  # gamma_1 of DeiT-III's files is ls1.gamma in timm
        settings["adapt_layer_scale"] = True
    return partial(found, **settings)


def _timm_class(model: nn.Module) -> type:
    """timm's class of a model; an attached one has a subclass of it."""
    classes = [kind for kind in type(model).__mro__ if kind.__module__.startswith("timm.models.")]
    return classes[0] if classes else type(model)


def _report_changes(before: Weights, after: Weights, report: Report) -> None:
    """Report what timm's function did. A tensor that is the same object was only renamed."""
    old = {id(value): name for name, value in before.items()}
    left = {id(value) for value in after.values()}
    gone = [name for name, value in before.items() if name not in after and id(value) not in left]
    new = [name for name, value in after.items() if name not in before and id(value) not in old]
    pairs = [(old[id(value)], name) for name, value in after.items() if name not in before and id(value) in old]
    for line in _few([f"{_pattern(theirs)} taken as {_pattern(ours)}" for theirs, ours in pairs]):
        report(line)
    if gone:
        report(f"{', '.join(_few(map(_pattern, gone)))} " + (f"taken as {_list(new)}" if new else "left out"))
    for line in _few([_change(name, before[name], after[name]) for name in after if name in before]):
        report(line)


def _change(name: str, before: Tensor, after: Tensor) -> str:
    """How a tensor was changed; empty if it was not."""
    if after is before or (after.shape == before.shape and torch.equal(after, before)):
        return ""
    verb = "reshaped" if after.shape != before.shape and after.numel() == before.numel() else "resampled"
    return f"{_pattern(name)} {verb} from {_shape(before)} to {_shape(after)}"


def _list(names: Iterable[str]) -> str:
    return ", ".join(_few(map(_pattern, names)))


def _few(lines: Iterable[str], most: int = 4) -> list[str]:
    """The first of several distinct lines, and how many more there are."""
    different = [line for line in dict.fromkeys(lines) if line]
    more = len(different) - most
    return different if more <= 0 else [*different[:most], f"and {more} more"]


def _pattern(name: str) -> str:
    return ".".join("*" if part.isdigit() else part for part in name.split("."))


def _shape(value: Tensor) -> str:
    return "x".join(map(str, value.shape)) or "a number"


def _fit_position(weights: Weights, model: nn.Module, report: Report) -> None:
    """Resample the position embedding to the model's grid, and add or remove its slot for the class token."""
    mine, theirs = getattr(model, "pos_embed", None), weights.get("pos_embed")
    if not isinstance(mine, Tensor) or theirs is None or theirs.ndim != mine.ndim or len(theirs) != 1:
        return
    grid = getattr(getattr(model, "patch_embed", None), "grid_size", None)
    if mine.ndim == 4:  # PiT: (1, width, height, width of the grid)
        old, new = _size(theirs.shape[2:]), _size(mine.shape[2:])
        weights["pos_embed"] = resample_abs_pos_embed_nhwc(theirs.permute(0, 2, 3, 1), list(new)).permute(0, 3, 1, 2)
    elif mine.ndim == 3 and grid is not None:
        new, slots = _size(grid), mine.shape[1] - math.prod(grid)
        found = _grid(theirs.shape[1], slots, new)
        if found is None:
            return
        found_slots, old = found
        theirs = resample_abs_pos_embed(theirs, list(new), list(old), num_prefix_tokens=found_slots)
        weights["pos_embed"] = _fit_slot(weights, theirs, found_slots, slots, report)
    else:
        return
    if old != new:
        report(f"position embedding resampled from {old[0]}x{old[1]} to {new[0]}x{new[1]}")


def _grid(tokens: int, slots: int, grid: Size) -> tuple[int, Size] | None:
    """Slots and grid of a position embedding with `tokens` tokens: a square grid if possible, else the model's own."""
    for number in (slots, 0, 1):
        side = math.isqrt(max(tokens - number, 0))
        if side and side * side + number == tokens:
            return number, (side, side)
    return (slots, grid) if tokens == slots + math.prod(grid) else None


def _fit_slot(
    weights: Weights, position: Float[Tensor, "1 tokens width"], found: int, wanted: int, report: Report
) -> Float[Tensor, "1 tokens_wanted width"]:
    """Add or remove the class token's slot. Both are exact, because a network only uses the sum of token and slot."""
    token = weights.get("cls_token")
    if token is None or token.shape != position[:, :1].shape:
        return position
    if (found, wanted) == (0, 1):
        report("position embedding without a slot for the class token: zeros added")
        return torch.cat([torch.zeros_like(token, dtype=position.dtype), position], 1)
    if (found, wanted) == (1, 0):
        report("slot of the class token in the position embedding added to the class token")
        weights["cls_token"] = token + position[:, :1]
        return position[:, 1:]
    return position


def _fit_norm(weights: Weights, model: nn.Module, report: Report) -> None:
    """Use the file's last norm as `fc_norm`: networks that average tokens, as MAE and BEiT, normalise after that."""
    names = model.state_dict().keys()
    if {"norm.weight", "norm.bias"} <= weights.keys() - names and {"fc_norm.weight", "fc_norm.bias"} <= (
        names - weights.keys()
    ):
        for kind in ("weight", "bias"):
            weights[f"fc_norm.{kind}"] = weights.pop(f"norm.{kind}")
        report("norm taken as fc_norm: this network averages its tokens first")


def _fit_heads(weights: Weights, model: nn.Module, report: Report) -> set[str]:
    """Drop heads for another number of classes. Returns the names of parameters that keep their initialisation."""
    fresh: set[str] = set()
    for head in head_names(model):
        ours = {name: value for name, value in model.state_dict().items() if name.startswith(f"{head}.")}
        theirs = {name: value for name, value in weights.items() if name.startswith(f"{head}.")}
        if ours.keys() == theirs.keys() and all(ours[name].shape == theirs[name].shape for name in ours):
            continue
        fresh |= ours.keys()
        if theirs:
            report(f"{head} of {_classes(theirs)} classes dropped: this network has {_classes(ours) or 'none'}")
        else:
            report(f"no {head} in the weights: that of {_classes(ours)} classes keeps its initialisation")
        for name in theirs:
            del weights[name]
    return fresh


def _classes(head: Weights) -> int:
    return next((value.shape[0] for value in head.values() if value.ndim), 0)


def _size(size: Iterable[int]) -> Size:
    height, width = size
    return height, width


# --- check


def _require_fit(weights: Weights, model: nn.Module, source: str | Path, fresh: set[str]) -> None:
    ours = model.state_dict()
    counters = {name for name in ours if name.endswith("num_batches_tracked")}  # absent in old files, and unused
    missing = [name for name in ours if name not in weights.keys() | fresh | counters]
    unexpected = [name for name in weights if name not in ours]
    others = [
        f"{name} ({_shape(weights[name])}, here {_shape(ours[name])})"
        for name in ours
        if name in weights and weights[name].shape != ours[name].shape
    ]
    if len(weights.keys() & ours.keys()) < _COMMON * min(len(ours), len(weights)):
        raise InputError(
            f"weights: {source}: have other names throughout than this {_timm_class(model).__name__}: first "
            f"{', '.join(_few(weights, 3))}; here {', '.join(_few(ours, 3))}; rename them as timm does, or name their "
            "--model"
        )
    kinds = {"missing": missing, "unexpected": unexpected, "of another shape": others}
    differ = "; ".join(f"{kind}: {', '.join(_few(names, 3))}" for kind, names in kinds.items() if names)
    if differ:
        raise InputError(
            f"weights: {source}: do not fit this {_timm_class(model).__name__} ({differ}); "
            "name weights of the same architecture, or the --model and --model-args of these"
        )
    if nonfinite := [name for name, value in weights.items() if not value.isfinite().all()]:
        raise InputError(f"weights: {source}: are not finite ({', '.join(_few(nonfinite, 3))}); name others")
