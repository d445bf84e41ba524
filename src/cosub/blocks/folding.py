"""Fewer saved activations in a branch: LayerNorm's weights and LayerScale folded into the projections beside them.

A branch is norm -> linear -> ... -> linear -> LayerScale. As timm computes it, autograd saves the norm's input and its
output, and LayerScale's input. Written as `(g * W * w) x + g * (W b + c)`, with `x` the normalised rows, `w`, `b` the
norm's weight and bias, `g` LayerScale's, it saves the normalised rows alone; the folded matrix is computed again in
backward. Equal to timm up to rounding (1e-5), not to the bit, so it acts in training only.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers.layer_scale import LayerScale
from timm.layers.norm import LayerNorm
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


@dataclass
class Fold:
    """Two neighbours that share one decision. Plain attributes hold it, so no module is registered twice."""

    owner: nn.Module  # the block
    norm: nn.LayerNorm | None = None
    layer_scale: LayerScale | None = None

    def acts(self, x: Tensor) -> bool:
        """In training and eagerly; not in float16, where small LayerScale values vanish in the folded matrix."""
        if not self.owner.training or not torch.is_grad_enabled() or torch.compiler.is_compiling():
            return False
        return _low_precision(x) is not torch.float16


class Folded(nn.Module):
    """A module whose forward depends on a fold."""

    timm_class: type[nn.Module]
    fold: tuple[Fold, ...]


class FoldedTimmNorm(Folded, LayerNorm):
    timm_class = LayerNorm

    def forward(self, x: Tensor) -> Tensor:
        if self.fold[0].acts(x):
            return _Normalise.apply(x, self.eps, _low_precision(x))  # pyright: ignore[reportReturnType]
        return LayerNorm.forward(self, x)


class FoldedNorm(Folded, nn.LayerNorm):
    timm_class = nn.LayerNorm

    def forward(self, x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        if self.fold[0].acts(x):
            return _Normalise.apply(x, self.eps, _low_precision(x))  # pyright: ignore[reportReturnType]
        return nn.LayerNorm.forward(self, x)


class FoldedScale(Folded, LayerScale):
    timm_class = LayerScale

    def forward(self, x: Tensor) -> Tensor:
        return x if self.fold[0].acts(x) else LayerScale.forward(self, x)


class FoldedLinear(Folded, nn.Linear):
    timm_class = nn.Linear

    def forward(self, x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        (fold,) = self.fold
        if not fold.acts(x):
            return nn.Linear.forward(self, x)
        weight, shift = (None, None) if fold.norm is None else (fold.norm.weight, fold.norm.bias)
        gamma = None if fold.layer_scale is None else fold.layer_scale.gamma
        arguments = (x, self.weight, self.bias, weight, shift, gamma, _low_precision(x))
        return _FoldedLinear.apply(*arguments)  # pyright: ignore[reportReturnType]


def fold(owner: nn.Module, norm: nn.Module, first: nn.Module, last: nn.Module, layer_scale: nn.Module) -> None:
    """Fold what can be folded of one branch: the norm into `first`, LayerScale into `last`. The rest stays timm's."""
    if type(norm) in (LayerNorm, nn.LayerNorm) and type(first) is nn.Linear and _affine(norm):
        kind = FoldedTimmNorm if type(norm) is LayerNorm else FoldedNorm
        _retype(Fold(owner, norm=norm), (norm, kind), (first, FoldedLinear))  # pyright: ignore[reportArgumentType]
    if type(layer_scale) is LayerScale and type(last) is nn.Linear and not layer_scale.inplace:
        _retype(Fold(owner, layer_scale=layer_scale), (layer_scale, FoldedScale), (last, FoldedLinear))


def _affine(norm: Any) -> bool:
    return norm.weight is not None and norm.bias is not None and len(norm.normalized_shape) == 1


def _retype(shared: Fold, *modules: tuple[nn.Module, type[nn.Module]]) -> None:
    for module, kind in modules:
        module.__class__ = kind
        module.fold = (shared,)  # pyright: ignore[reportArgumentType, reportAttributeAccessIssue]


def _low_precision(x: Tensor) -> torch.dtype:
    """The type that a matrix product of `x` is computed in here."""
    kind = x.device.type
    if not torch.amp.is_autocast_available(kind) or not torch.is_autocast_enabled(kind):  # the meta device has none
        return x.dtype
    return torch.get_autocast_dtype(kind)


class _Normalise(torch.autograd.Function):
    """LayerNorm without weight and bias; keeps the normalised rows instead of its input."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
        normal, _, deviation = torch.native_layer_norm(x, x.shape[-1:], None, None, eps)
        normal = normal.to(dtype)
        ctx.save_for_backward(normal, deviation)
        ctx.dtype = x.dtype
        return normal

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        normal, deviation = ctx.saved_tensors
        # The fused kernel, for rows whose mean is 0 and whose deviation is 1; the true deviation comes after it.
        # In full precision: half precisions want the statistics in another type on each device.
        mean, one = torch.zeros_like(deviation), torch.ones_like(deviation)
        kernel, shape = torch.ops.aten.native_layer_norm_backward.default, list(normal.shape[-1:])
        rows = (gradient.to(deviation.dtype), normal.to(deviation.dtype))
        inner = kernel(*rows, shape, mean, one, None, None, [True, False, False])[0]
        return (inner * deviation).to(ctx.dtype), None, None


class _FoldedLinear(torch.autograd.Function):
    """`x -> gamma * (W (weight * x + shift) + bias)`, one matrix product; saves `x` and the parameters."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        matrix: Tensor,
        bias: Tensor | None,
        weight: Tensor | None,
        shift: Tensor | None,
        gamma: Tensor | None,
        dtype: torch.dtype,
    ) -> Tensor:
        ctx.input_dtype = x.dtype
        x = x.to(dtype)
        ctx.save_for_backward(x, matrix, bias, weight, shift, gamma)
        offset = _offset(matrix, bias, shift)
        if offset is not None:
            offset = (offset if gamma is None else gamma * offset).to(dtype)
        return F.linear(x, _folded(matrix, weight, gamma).to(dtype), offset)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, matrix, bias, weight, shift, gamma = ctx.saved_tensors
        to_input = None
        if ctx.needs_input_grad[0]:
            to_input = (gradient @ _folded(matrix, weight, gamma).to(gradient.dtype)).to(ctx.input_dtype)
        flat = gradient.flatten(0, -2)
        to_folded = (flat.t() @ x.flatten(0, -2).to(flat.dtype)).to(matrix.dtype)
        to_offset = flat.sum(0, dtype=matrix.dtype)
        to_gamma = to_weight = to_shift = None
        if gamma is not None:
            to_gamma = (to_folded * matrix if weight is None else to_folded * matrix * weight).sum(1)
            offset = _offset(matrix, bias, shift)
            if offset is not None:
                to_gamma = to_gamma + to_offset * offset
            to_folded, to_offset = to_folded * gamma[:, None], to_offset * gamma
        if weight is not None:
            to_weight = (to_folded * matrix).sum(0)
            to_folded = to_folded * weight
        if shift is not None:
            to_shift = to_offset @ matrix
            to_folded = to_folded.addr(to_offset, shift)
        return to_input, to_folded, None if bias is None else to_offset, to_weight, to_shift, to_gamma, None


def _folded(matrix: Tensor, weight: Tensor | None, gamma: Tensor | None) -> Tensor:
    if weight is not None:
        matrix = matrix * weight
    return matrix if gamma is None else matrix * gamma[:, None]


def _offset(matrix: Tensor, bias: Tensor | None, shift: Tensor | None) -> Tensor | None:
    if shift is None:
        return bias
    return matrix @ shift if bias is None else torch.addmv(bias, matrix, shift)
