"""The maps that a backbone offers to a decoder, found from the model itself and not by its family."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

LEVELS, FEWEST = 4, 3
_PYRAMID = 32  # pixels: the stride of the last stage
# Arguments with which timm's transformers take images of other sizes than they are built for.
ANY_SIZE: dict[str, Any] = {"dynamic_img_size": True, "strict_img_size": False}


@dataclass(frozen=True)
class Shape:
    """Which maps of a backbone the decoder uses, and their form."""

    indices: list[int]
    """Indices for `forward_intermediates`: blocks of plain networks, stages of pyramids."""
    channels: list[int]
    plain: bool
    """Whether all maps have the same resolution."""
    normalised: bool
    """Whether the network has LayerNorm, before its branches."""
    stride: int
    """Height and width of images are made multiples of it."""
    any_size: bool
    """Whether it also takes images of other sizes than it is built for, if they are multiples of the stride."""
    unused: frozenset[str]
    """Parameters on which the maps do not depend: classifier, last norm, class attention."""


def look(backbone: nn.Module, resolution: int) -> Shape:
    """The shape of a timm model on the meta device, not attached, for images of its resolution.

    Raises:
        ValueError: if it returns no maps, or too few.
    """
    if not hasattr(backbone, "forward_intermediates"):
        raise ValueError(f"{type(backbone).__name__} returns no maps of its blocks")
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
    stride = _stride(backbone, resolution, sizes[-1]) if plain else _PYRAMID
    least = math.ceil(resolution / stride) * stride
    return Shape(
        indices,
        [everything[index].shape[1] for index in indices],
        plain,
        any(isinstance(module, nn.LayerNorm) for module in backbone.modules()),
        stride,
        # One stride more, because what is built of windows takes twice the size and not that.
        _takes(backbone, (least + stride, least + 2 * stride)),
        _unused(backbone, [everything[index] for index in indices]),
    )


def tapped(depth: int) -> list[int]:
    """Blocks at a third, a half, two thirds and the end: [3, 5, 7, 11] of 12, [7, 11, 15, 23] of 24."""
    return [max(int(depth * share + 0.5), 1) - 1 for share in (1 / 3, 1 / 2, 2 / 3, 1)]


def _maps(backbone: nn.Module, size: tuple[int, int], indices: list[int] | None) -> list[Tensor]:
    image = torch.zeros(1, 3, *size, device="meta")
    return backbone.eval().forward_intermediates(image, indices=indices, intermediates_only=True)  # pyright: ignore[reportCallIssue]


def _stride(backbone: Any, resolution: int, size: int) -> int:
    """Pixels per position of a plain network's maps: its patch, or a power of two where convolutions come first."""
    patch = getattr(getattr(backbone, "patch_embed", None), "patch_size", 1)
    patch = patch[0] if isinstance(patch, tuple) else patch
    return patch if patch * size == resolution else 2 ** math.ceil(math.log2(resolution / size))


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
