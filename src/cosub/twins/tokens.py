"""Models that reshape tokens into maps by the batch size at their input, although copies have multiplied the rows."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from cosub.twins.host import Host


class TokenHost(Host):
    """Takes tokens from timm and reshapes them here, where the number of rows is known."""

    def forward_intermediates(self, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        plain = super().forward_intermediates  # pyright: ignore[reportAttributeAccessIssue]
        call = inspect.signature(plain).bind(x, *args, **kwargs)
        call.apply_defaults()
        repeats = self.cosub.state.repeats(x.shape[0], self)
        if repeats == 1 or call.arguments["output_fmt"] != "NCHW":
            return plain(x, *args, **kwargs)
        height, width = _grid(self.patch_embed, x.shape[2], x.shape[3])
        call.arguments["output_fmt"] = "NLC"
        return _fold(plain(*call.args, **call.kwargs), lambda tokens: _map_of(tokens, height, width))


class NaFlexHost(Host):
    """Pools by a mask of the patches that are there, which has a row for each image."""

    def _pool(self, x: Tensor, *args: Any, patch_valid: Tensor | None = None, **kwargs: Any) -> Tensor:
        if patch_valid is not None:
            patch_valid = patch_valid.repeat(len(x) // len(patch_valid), 1)
        return super()._pool(x, *args, patch_valid=patch_valid, **kwargs)  # pyright: ignore[reportAttributeAccessIssue]


def _grid(patch_embed: Any, height: int, width: int) -> tuple[int, int]:
    """Patches on each side of an image."""
    if hasattr(patch_embed, "dynamic_feat_size"):
        return patch_embed.dynamic_feat_size((height, width))
    sizes = patch_embed.patch_size
    down, across = sizes if isinstance(sizes, tuple) else (sizes, sizes)
    return height // down, width // across


def _map_of(tokens: Tensor, height: int, width: int) -> Tensor:
    """(R, H*W, D) -> (R, D, H, W)"""
    return tokens.transpose(1, 2).unflatten(2, (height, width)).contiguous()


def _fold(result: Any, to_map: Callable[[Tensor], Tensor]) -> Any:
    """Apply `to_map` to the intermediates inside any of the forms in which timm returns them."""
    if isinstance(result, Mapping):
        return {**result, "image_intermediates": [to_map(tokens) for tokens in result["image_intermediates"]]}
    if isinstance(result, tuple):
        final, intermediates = result
        return final, _fold(intermediates, to_map)
    return [(to_map(item[0]), item[1]) if isinstance(item, tuple) else to_map(item) for item in result]
