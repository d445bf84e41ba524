"""Give weights timm's names: from checkpoints, without wrappers' prefixes, translated from other libraries."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from cosub.errors import InputError

Weights = dict[str, Tensor]
Report = Callable[[str], None]  # called with a line for each adaptation

# Attributes under which training code keeps its network.
_WRAPPERS = ("module", "_orig_mod", "model", "backbone", "encoder", "net", "network", "base_model")

# Names of EfficientNet-PyTorch, and of packages derived from it, in blocks with and without an expansion.
_BLOCK = {"_se_reduce": "se.conv_reduce", "_se_expand": "se.conv_expand", "_depthwise_conv": "conv_dw"}
_EXPANDED = {
    **_BLOCK,
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_PLAIN = {**_BLOCK, "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_OUTSIDE = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}


def plain(found: Any, source: str | Path, report: Report) -> Weights:
    """The weights inside a checkpoint.

    Raises:
        InputError: if there are none.
    """
    while key := _inside(found):
        for other in {"model_ema", "state_dict_ema"} & found.keys():
            report(f"averaged weights ({other}) are in the checkpoint too and were not used")
        found = found[key]
    if not isinstance(found, dict) or not found or not all(isinstance(value, Tensor) for value in found.values()):
        raise InputError(f"weights: {source}: holds no weights by name; save model.state_dict()")
    return {str(name): value for name, value in found.items()}


def _inside(found: Any) -> str:
    """The key under which a checkpoint keeps its weights; empty where it is the weights."""
    names = ("model", "state_dict", "module") if isinstance(found, dict) else ()
    return next((name for name in names if isinstance(found.get(name), dict)), "")


def renamed(weights: Weights, model: nn.Module, report: Report) -> Weights:
    """The weights without wrappers' prefixes, and with timm's names where they have those of EfficientNet-PyTorch."""
    ours = set(model.state_dict())
    taken: dict[str, None] = {}
    if any("._orig_mod." in f".{name}" for name in weights):  # also inside: single blocks may have been compiled
        weights = {name.replace("_orig_mod.", ""): value for name, value in weights.items()}
        taken["_orig_mod."] = None
    while prefix := _prefix(weights, ours):
        weights = {name.removeprefix(prefix): value for name, value in weights.items()}
        taken[prefix] = None
    if taken:
        report(f"{' and '.join(taken)} stripped from the names")
    return _from_efficientnet_pytorch(weights, model, report)


def _prefix(weights: Weights, ours: set[str]) -> str:
    """A wrapper's prefix that all names have, or without which more names are the model's; empty if there is none."""
    for prefix in (f"{word}." for word in _WRAPPERS):
        inside = {name.removeprefix(prefix) for name in weights if name.startswith(prefix)}
        if not inside or any(name.startswith(prefix) for name in ours) or inside & weights.keys():
            continue
        if len(inside) == len(weights) or inside & ours:
            return prefix
    return ""


def _from_efficientnet_pytorch(weights: Weights, model: nn.Module, report: Report) -> Weights:
    stages: Any = getattr(model, "blocks", None)
    if not isinstance(stages, nn.Sequential) or not any(name.startswith("_conv_stem.") for name in weights):
        return weights
    blocks = [f"blocks.{stage}.{block}" for stage, inside in enumerate(stages) for block in range(len(inside))]  # pyright: ignore[reportArgumentType]
    report("names of EfficientNet-PyTorch translated; its padding is that of timm's models named tf_*")
    return {_of_timm(name, weights, blocks): value for name, value in weights.items()}


def _of_timm(name: str, weights: Weights, blocks: list[str]) -> str:
    found = re.fullmatch(r"(?:_blocks\.(\d+)\.)?(\w+)\.(\w+)", name)
    if found is None:
        return name
    number, part, kind = found.groups()
    if number is None:
        return f"{_OUTSIDE.get(part, part)}.{kind}"
    parts = _EXPANDED if f"_blocks.{number}._expand_conv.weight" in weights else _PLAIN
    if int(number) >= len(blocks) or part not in parts:
        return name
    return f"{blocks[int(number)]}.{parts[part]}.{kind}"
