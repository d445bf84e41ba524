"""Pretrained weights into a timm model: files, run folders, timm's names, the Hub. What was adapted is said.

Nothing that could run code is read: files of tensors alone (`weights_only=True`), and of the Hub safetensors alone.
"""

import argparse
import inspect
import math
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm import list_pretrained
from timm.layers.pos_embed import resample_abs_pos_embed, resample_abs_pos_embed_nhwc
from timm.models import get_pretrained_cfg, is_model_pretrained, load_state_dict_from_hf
from torch import Tensor, nn

from cosub.errors import InputError, nearest
from cosub.weights.heads import head_names
from cosub.weights.hub import FILE, require_hub_name
from cosub.weights.naming import Say, Weights, plain, renamed

Size = tuple[int, int]

_COMMON = 0.1  # share of the names in common below which weights are another library's or architecture's

# What timm's readers raise for the weights of another architecture.
_FOREIGN = (AttributeError, KeyError, IndexError, TypeError, ValueError, AssertionError, RuntimeError)


def load_weights(model: nn.Module, source: str | Path, with_head: bool = False) -> list[str]:
    """Load pretrained weights into a timm model, attached or not, in place.

    Names and shapes of other releases are translated by the model's own family in timm. The position embedding is
    resampled to the model's grid (bicubic, with antialiasing where it shrinks: there DeiT-III's own code has none);
    a file does not say its grid, so it is taken for square where it can be. A head of another number of classes, or
    an absent one, leaves the model's as it is.

    Args:
        model: any timm model; compiled or sharded ones come after.
        source: a file (safetensors, or .pth as DeiT, DeiT-III, CaiT and others publish them), a folder with
            model.safetensors (a run's, or one that timm wrote), "timm:NAME.TAG" or the name alone, "hf-hub:OWNER/NAME".
        with_head: the weights must have the model's head, of its number of classes.

    Returns:
        A line for each thing that was adapted; none where the weights fit as they are.

    Raises:
        InputError: if there is no such source, it cannot be read, could run code or is not finite, or its names and
            shapes are not those of the model; then the model is as it was.
    """
    said: list[str] = []
    weights = plain(_read(source), source, said.append)
    weights = renamed(weights, model, said.append)
    weights = _translate(weights, model, said.append)
    _fit_position(weights, model, said.append)
    _fit_norm(weights, model, said.append)
    fresh = _fit_heads(weights, model, said.append)
    _require_fit(weights, model, source, fresh)
    if with_head and fresh:
        raise InputError(f"weights: {source}: are not a trained classifier of this network ({said[-1]}); name others")
    model.load_state_dict(weights, strict=False)
    return said


# --- where they come from


def _read(source: str | Path) -> Any:
    kind, _, name = str(source).partition(":")
    if kind == "hf-hub":
        return _from_hub(name)
    if kind == "timm":
        return _from_timm(name)
    path = Path(source)
    if os.path.isdir(path):
        if not (path / FILE).is_file():
            raise InputError(f"weights: {path}: is a folder without {FILE}; name a finished run or a file")
        path = path / FILE
    if os.path.exists(path):  # a name too long for a file is none
        return _from_file(path)
    if is_model_pretrained(str(source)):
        return _from_timm(str(source))
    raise InputError(
        f"weights: {source}: is no file, no run's folder and no name of timm's weights"
        f"{nearest(str(source), list_pretrained())}"
    )


def _from_timm(name: str) -> Weights:
    """By a name of timm's registry, which says where on the Hub the weights lie."""
    if not is_model_pretrained(name):
        raise InputError(f"weights: timm:{name}: timm has no weights of that name{nearest(name, list_pretrained())}")
    found = get_pretrained_cfg(name)
    if found is None or not found.hf_hub_id:
        raise InputError(f"weights: timm:{name}: are not on the Hub; download the file that timm names, and name it")
    return _from_hub(found.hf_hub_id)


def _from_hub(name: str) -> Weights:
    """The safetensors file of a model on the Hub. Named so, timm asks for no other file, and unpickles none."""
    require_hub_name(name)
    try:
        return load_state_dict_from_hf(name, filename=FILE)
    except Exception as error:  # a network raises what it likes
        raise InputError(
            f"weights: hf-hub:{name}: its {FILE} cannot be had ({_short(error)}); check the name and the network, or "
            f"fetch that file elsewhere and name it, --weights FOLDER/{FILE}; other files are not taken from there"
        ) from error


def _from_file(path: Path) -> Any:
    try:
        return load_file(path) if path.suffix == ".safetensors" else _load_tensors(path)
    except UnpicklingError as error:
        if found := re.search(r"GLOBAL (\S+)", str(error)):
            raise InputError(
                f"weights: {path}: holds the Python object {found[1]}, and reading it could run code; "
                "save the state_dict alone, best as safetensors"
            ) from error
        raise _damaged(path, ValueError("no file that torch.save writes")) from error
    except (OSError, SafetensorError) as error:
        raise _damaged(path, error) from error


def _load_tensors(path: Path) -> Any:
    """A .pth file: tensors, plain values, and the options of a training script, which hold plain values."""
    with warnings.catch_warnings(), torch.serialization.safe_globals([argparse.Namespace]):
        warnings.simplefilter("ignore")  # torch guesses at what is wrong with a damaged file
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except (OSError, UnpicklingError):
            raise
        except Exception as error:  # damaged bytes raise anything
            raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(f"weights: {path}: cannot be read as weights ({_short(error)}); get the file again")


def _short(error: Exception) -> str:
    text = " ".join(str(error).split())[:120].strip(" .")
    return text if any(map(str.isalpha, text)) else f"{type(error).__name__} {text}".strip()


# --- how they are made to fit


def _translate(weights: Weights, model: nn.Module, say: Say) -> Weights:
    """The model's names and shapes, from those of other releases, by the function that timm has for the family."""
    reader = _reader(model)
    if reader is None:
        return weights
    before = {name: value for name, value in weights.items() if name != "pos_embed"}  # ours to resample
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of torch, about how timm resamples Swin's and BEiT's tables
        try:
            after = reader(dict(before))
        except _FOREIGN:  # the comparison will say what differs
            return weights
    _tell(before, after, say)
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
    """An attached model has a class of its own over timm's."""
    classes = [kind for kind in type(model).__mro__ if kind.__module__.startswith("timm.models.")]
    return classes[0] if classes else type(model)


def _tell(before: Weights, after: Weights, say: Say) -> None:
    """Say what timm's reader did: a tensor that is the same object was only renamed."""
    old = {id(value): name for name, value in before.items()}
    left = {id(value) for value in after.values()}
    gone = [name for name, value in before.items() if name not in after and id(value) not in left]
    new = [name for name, value in after.items() if name not in before and id(value) not in old]
    pairs = [(old[id(value)], name) for name, value in after.items() if name not in before and id(value) in old]
    for line in _few([f"{_pattern(theirs)} taken as {_pattern(ours)}" for theirs, ours in pairs]):
        say(line)
    if gone:
        say(f"{', '.join(_few(map(_pattern, gone)))} " + (f"taken as {_list(new)}" if new else "left out"))
    for line in _few([_change(name, before[name], after[name]) for name in after if name in before]):
        say(line)


def _change(name: str, before: Tensor, after: Tensor) -> str:
    """What happened to a tensor's values; empty for nothing."""
    if after is before or (after.shape == before.shape and torch.equal(after, before)):
        return ""
    verb = "reshaped" if after.shape != before.shape and after.numel() == before.numel() else "resampled"
    return f"{_pattern(name)} {verb} from {_shape(before)} to {_shape(after)}"


def _list(names: Iterable[str]) -> str:
    return ", ".join(_few(map(_pattern, names)))


def _few(lines: Iterable[str], most: int = 4) -> list[str]:
    """The first of several lines that differ, and how many there are besides."""
    different = [line for line in dict.fromkeys(lines) if line]
    more = len(different) - most
    return different if more <= 0 else [*different[:most], f"and {more} more"]


def _pattern(name: str) -> str:
    return ".".join("*" if part.isdigit() else part for part in name.split("."))


def _shape(value: Tensor) -> str:
    return "x".join(map(str, value.shape)) or "a number"


def _fit_position(weights: Weights, model: nn.Module, say: Say) -> None:
    """Resample the position embedding to the model's grid, and give or take its slot for the class token."""
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
        there, old = found
        theirs = resample_abs_pos_embed(theirs, list(new), list(old), num_prefix_tokens=there)
        weights["pos_embed"] = _fit_slot(weights, theirs, there, slots, say)
    else:
        return
    if old != new:
        say(f"position embedding resampled from {old[0]}x{old[1]} to {new[0]}x{new[1]}")


def _grid(tokens: int, slots: int, grid: Size) -> tuple[int, Size] | None:
    """Slots and grid of a position embedding of so many tokens: square where it can be, else the model's own."""
    for some in (slots, 0, 1):
        side = math.isqrt(max(tokens - some, 0))
        if side and side * side + some == tokens:
            return some, (side, side)
    return (slots, grid) if tokens == slots + math.prod(grid) else None


def _fit_slot(
    weights: Weights, position: Float[Tensor, "1 tokens width"], there: int, wanted: int, say: Say
) -> Float[Tensor, "1 tokens_wanted width"]:
    """Both ways are exact, because the class token and its slot are only ever added."""
    token = weights.get("cls_token")
    if token is None or token.shape != position[:, :1].shape:
        return position
    if (there, wanted) == (0, 1):
        say("position embedding without a slot for the class token: zeros added")
        return torch.cat([torch.zeros_like(token, dtype=position.dtype), position], 1)
    if (there, wanted) == (1, 0):
        say("slot of the class token in the position embedding added to the class token")
        weights["cls_token"] = token + position[:, :1]
        return position[:, 1:]
    return position


def _fit_norm(weights: Weights, model: nn.Module, say: Say) -> None:
    """A network that averages its tokens normalises after that, and has no norm before, as MAE's and BEiT's files."""
    names = model.state_dict().keys()
    if {"norm.weight", "norm.bias"} <= weights.keys() - names and {"fc_norm.weight", "fc_norm.bias"} <= (
        names - weights.keys()
    ):
        for kind in ("weight", "bias"):
            weights[f"fc_norm.{kind}"] = weights.pop(f"norm.{kind}")
        say("norm taken as fc_norm: this network averages its tokens first")


def _fit_heads(weights: Weights, model: nn.Module, say: Say) -> set[str]:
    """Drop heads of another number of classes. Gives the names that keep their initialisation."""
    fresh: set[str] = set()
    for head in head_names(model):
        ours = {name: value for name, value in model.state_dict().items() if name.startswith(f"{head}.")}
        theirs = {name: value for name, value in weights.items() if name.startswith(f"{head}.")}
        if ours.keys() == theirs.keys() and all(ours[name].shape == theirs[name].shape for name in ours):
            continue
        fresh |= ours.keys()
        if theirs:
            say(f"{head} of {_classes(theirs)} classes dropped: this network has {_classes(ours) or 'none'}")
        else:
            say(f"no {head} in the weights: that of {_classes(ours)} classes keeps its initialisation")
        for name in theirs:
            del weights[name]
    return fresh


def _classes(head: Weights) -> int:
    return next((value.shape[0] for value in head.values() if value.ndim), 0)


def _size(size: Iterable[int]) -> Size:
    height, width = size
    return height, width


# --- whether they fit


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
            f"{', '.join(_few(weights, 3))}; here {', '.join(_few(ours, 3))}; rename them as timm does, or name the "
            "--model that they are of"
        )
    kinds = {"missing": missing, "unexpected": unexpected, "of another shape": others}
    differ = "; ".join(f"{kind}: {', '.join(_few(names, 3))}" for kind, names in kinds.items() if names)
    if differ:
        raise InputError(
            f"weights: {source}: do not fit this {_timm_class(model).__name__} ({differ}); "
            "name weights of the same architecture, or the --model and --model-args of these"
        )
    if spoiled := [name for name, value in weights.items() if not value.isfinite().all()]:
        raise InputError(f"weights: {source}: are not finite ({', '.join(_few(spoiled, 3))}); name others")
