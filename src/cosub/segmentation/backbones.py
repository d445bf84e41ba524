"""What a backbone offers to a decoder: which of its maps, and what they are. Read off the model, no family by name."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

LEVELS, FEWEST = 4, 3
# What lets transformers and windows of timm take images of other sizes than they were made for.
ANY_SIZE: dict[str, Any] = {"dynamic_img_size": True, "strict_img_size": False}


@dataclass(frozen=True)
class Shape:
    """Which maps of a backbone the decoder takes, and what they are."""

    indices: list[int]
    """Of `forward_intermediates`: blocks of plain networks, stages of pyramids."""
    channels: list[int]
    plain: bool
    """All maps have one resolution."""
    normalised: bool
    """It has LayerNorm, before its branches."""
    any_size: bool
    """It takes images of other sizes than it was built for, too."""
    unused: frozenset[str]
    """Parameters that the maps do not depend on: classifier, last norm, class attention."""


def look(backbone: nn.Module, resolution: int) -> Shape:
    """What a timm model on the meta device, not attached, offers for images of its resolution.

    Raises:
        ValueError: if it gives no maps, or too few.
    """
    if not hasattr(backbone, "forward_intermediates"):
        raise ValueError(f"{type(backbone).__name__} gives no maps of its blocks")
    everything = _maps(backbone, (resolution, resolution), None)
    sizes = [found.shape[-1] for found in everything]
    plain = len(set(sizes)) == 1
    if plain:
        indices = tapped(len(sizes))
    else:  # the last map of each size, for the four smallest
        indices = [index for index, size in enumerate(sizes) if size not in sizes[index + 1 :]][-LEVELS:]
    if len(indices) < FEWEST:
        name, levels = type(backbone).__name__, len(indices)
        raise ValueError(f"{name} has maps of {levels} resolutions, and UperNet needs {FEWEST} or {LEVELS}")
    return Shape(
        indices,
        [everything[index].shape[1] for index in indices],
        plain,
        any(isinstance(module, nn.LayerNorm) for module in backbone.modules()),
        _takes(backbone, (resolution, 2 * resolution)),
        _unused(backbone, [everything[index] for index in indices]),
    )


def tapped(depth: int) -> list[int]:
    """Blocks at a third, a half, two thirds and the end: [3, 5, 7, 11] of 12, [7, 11, 15, 23] of 24."""
    return [max(int(depth * share + 0.5), 1) - 1 for share in (1 / 3, 1 / 2, 2 / 3, 1)]


def _maps(backbone: nn.Module, size: tuple[int, int], indices: list[int] | None) -> list[Tensor]:
    image = torch.zeros(1, 3, *size, device="meta")
    return backbone.eval().forward_intermediates(image, indices=indices, intermediates_only=True)  # pyright: ignore[reportCallIssue]


def _takes(backbone: nn.Module, size: tuple[int, int]) -> bool:
    try:
        _maps(backbone, size, None)
    except (AssertionError, RuntimeError, ValueError):
        return False
    return True


def _unused(backbone: nn.Module, maps: list[Tensor]) -> frozenset[str]:
    torch.stack([found.sum() for found in maps]).sum().backward()
    names = frozenset(name for name, parameter in backbone.named_parameters() if parameter.grad is None)
    backbone.zero_grad(set_to_none=True)
    return names
