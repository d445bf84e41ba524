"""The factor of kept branches, folded into the last parameters of each: exact up to rounding."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.conv_bn_act import ConvNormAct
from timm.layers.layer_scale import LayerScale, LayerScale2d
from timm.layers.norm import LayerNorm, LayerNorm2d
from timm.layers.norm_act import BatchNormAct2d
from torch import nn

from cosub.twins import TWINS
from cosub.twins.classes import class_of

# Linear in weight and bias together. Convolutions of standardised weights are not.
_LINEAR = (nn.Linear, nn.Conv2d, Conv2dSame, nn.BatchNorm2d, BatchNormAct2d, nn.LayerNorm, LayerNorm, LayerNorm2d)


def fold(block: nn.Module, layers: Sequence[int], factor: float) -> bool:
    """Multiply some branches of a timm block by a factor, in place.

    Returns:
        Whether each ends in parameters that can take it; otherwise nothing was changed. A branch may end in an
        activation, in squeeze-and-excitation or in a convolution whose weights are standardised.
    """
    if not can_fold(block, layers):
        return False
    with torch.no_grad():
        for parameter in (parameter for layer in layers for parameter in _end(block, layer)):
            parameter.mul_(factor)
    return True


def can_fold(block: nn.Module, layers: Iterable[int]) -> bool:
    """Whether some branches of a timm block each end in parameters that can take a factor."""
    return all(_end(block, layer) for layer in layers)


def _end(block: nn.Module, layer: int) -> list[nn.Parameter]:
    """The parameters that a branch is linear in; none if there are no such."""
    twin = TWINS[class_of(block)]
    for path in reversed(twin.branches_of(block)[layer]):
        parent, _, name = path.rpartition(".")
        part: Any = getattr(block.get_submodule(parent), name, None)
        if part is not None and not isinstance(part, nn.Identity):
            return _last(part, twin.ends.get(name, ""))
    return []


def _last(part: Any, inside: str) -> list[nn.Parameter]:
    if isinstance(part, LayerScale | LayerScale2d):
        part = part.gamma
    elif isinstance(part, ConvNormAct):
        part = part.bn
    elif inside and type(part) not in _LINEAR:
        part = getattr(part, inside, None)
    if isinstance(part, nn.Parameter):
        return [part]
    activated = not isinstance(getattr(part, "act", None), nn.Identity | None)
    return [] if activated or type(part) not in _LINEAR else [*part.parameters(recurse=False)]
