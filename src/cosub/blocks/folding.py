"""Fewer saved activations in a branch: LayerNorm computed again by the projection after it, LayerScale folded into the
projection before it.

A branch is norm -> linear -> ... -> linear -> LayerScale. As timm computes it, autograd saves the norm's input and its
output, and LayerScale's input. Here the first projection saves one tensor of both, the norm's input (its normalised
rows where products run in a lower precision), and applies the norm's weights again in backward; the last one multiplies
by `gamma * W` and reads gamma's gradient off that of the matrix. Equal to timm up to rounding (1e-5), not to the bit,
so it acts in training only.
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
    scale: tuple[nn.Module, str] | None = None  # where LayerScale's factors are: a module, and their name in it

    @property
    def gamma(self) -> Tensor:
        assert self.scale is not None
        return getattr(*self.scale)

    def acts(self, x: Tensor) -> bool:
        """In training and eagerly; not in float16, where small LayerScale values vanish in the folded matrix."""
        if not self.owner.training or not torch.is_grad_enabled() or torch.compiler.is_compiling():
            return False
        return _low_precision(x) is not torch.float16


class Folded(nn.Module):
    """A module whose forward depends on a fold."""

    timm_class: type[nn.Module]
    fold: Fold


class FoldedTimmNorm(Folded, LayerNorm):
    """Hands its rows on: the projection after it normalises them."""

    timm_class = LayerNorm

    def forward(self, x: Tensor) -> Tensor:
        return x if self.fold.acts(x) else LayerNorm.forward(self, x)


class FoldedNorm(Folded, nn.LayerNorm):
    timm_class = nn.LayerNorm

    def forward(self, x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return x if self.fold.acts(x) else nn.LayerNorm.forward(self, x)


class FoldedScale(Folded, LayerScale):
    """Hands its rows on: the projection before it has multiplied them."""

    timm_class = LayerScale

    def forward(self, x: Tensor) -> Tensor:
        return x if self.fold.acts(x) else LayerScale.forward(self, x)


class NormedLinear(Folded, nn.Linear):
    """The projection after a norm."""

    timm_class = nn.Linear

    def forward(self, x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        norm = self.fold.norm
        if norm is None or not self.fold.acts(x):
            return nn.Linear.forward(self, x)
        arguments = (x, self.weight, self.bias, norm.weight, norm.bias, norm.eps, _low_precision(x))
        return _NormedLinear.apply(*arguments)  # pyright: ignore[reportReturnType]


class ScaledLinear(Folded, nn.Linear):
    """The projection before LayerScale."""

    timm_class = nn.Linear

    def forward(self, x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        if not self.fold.acts(x):
            return nn.Linear.forward(self, x)
        return _ScaledLinear.apply(x, self.weight, self.bias, self.fold.gamma, _low_precision(x))  # pyright: ignore[reportReturnType]


def fold_norm(owner: nn.Module, norm: nn.Module, linear: nn.Module) -> None:
    """Let `linear` do the work of the LayerNorm whose output is its input. What cannot be folded stays timm's."""
    if type(norm) in (LayerNorm, nn.LayerNorm) and type(linear) is nn.Linear and _affine(norm):
        shared = Fold(owner, norm=norm)  # pyright: ignore[reportArgumentType]
        _retype(shared, norm, FoldedTimmNorm if type(norm) is LayerNorm else FoldedNorm)
        _retype(shared, linear, NormedLinear)


def fold_scale(owner: nn.Module, linear: nn.Module, layer_scale: nn.Module) -> None:
    """Let `linear` do the work of the LayerScale that follows it. What cannot be folded stays timm's."""
    if type(layer_scale) is LayerScale and type(linear) is nn.Linear and not layer_scale.inplace:
        shared = Fold(owner, scale=(layer_scale, "gamma"))
        _retype(shared, layer_scale, FoldedScale)
        _retype(shared, linear, ScaledLinear)


def fold_factor(owner: nn.Module, linear: nn.Module, name: str) -> None:
    """The same for blocks that hold the factors themselves, as a parameter of that name; see `factor`."""
    if isinstance(getattr(owner, name), nn.Parameter) and type(linear) is nn.Linear:
        _retype(Fold(owner, scale=(owner, name)), linear, ScaledLinear)


def factor(gamma: Tensor | None, linear: object, x: Tensor) -> Tensor:
    """`gamma * x` for the output `x` of a branch that ends in `linear`, unless that projection has it folded in."""
    if gamma is None or (isinstance(linear, ScaledLinear) and linear.fold.acts(x)):
        return x
    return gamma * x


def _affine(norm: Any) -> bool:
    return norm.weight is not None and norm.bias is not None and len(norm.normalized_shape) == 1


def _retype(shared: Fold, module: nn.Module, kind: type[Folded]) -> None:
    module.__class__ = kind
    module.fold = shared  # pyright: ignore[reportArgumentType]


def _low_precision(x: Tensor) -> torch.dtype:
    """The type that a matrix product of `x` is computed in here."""
    kind = x.device.type
    if not torch.amp.is_autocast_available(kind) or not torch.is_autocast_enabled(kind):  # the meta device has none
        return x.dtype
    return torch.get_autocast_dtype(kind)


class _NormedLinear(torch.autograd.Function):
    """`x -> W norm(x) + b`. Saves one tensor of the rows, and their deviation, beside the parameters."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        matrix: Tensor,
        bias: Tensor | None,
        weight: Tensor,
        shift: Tensor,
        eps: float,
        dtype: torch.dtype,
    ) -> Tensor:
        ctx.eps, ctx.dtype = eps, x.dtype
        if dtype is x.dtype:
            normed, mean, deviation = torch.native_layer_norm(x, x.shape[-1:], weight, shift, eps)
            ctx.save_for_backward(x, mean, deviation, matrix, bias, weight, shift)
        else:  # half of the bytes
            normal, _, deviation = torch.native_layer_norm(x, x.shape[-1:], None, None, eps)
            normal = normal.to(dtype)
            normed = torch.addcmul(shift, normal, weight).to(dtype)
            ctx.save_for_backward(normal, None, deviation, matrix, bias, weight, shift)
        return F.linear(normed, matrix.to(dtype), None if bias is None else bias.to(dtype))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        rows, mean, deviation, matrix, bias, weight, shift = ctx.saved_tensors
        full, width = matrix.dtype, list(rows.shape[-1:])
        if mean is None:
            normed = torch.addcmul(shift, rows, weight).to(gradient.dtype)
        else:
            normed = torch.native_layer_norm(rows, width, weight, shift, ctx.eps)[0]
        flat = gradient.flatten(0, -2)
        to_matrix = (flat.t() @ normed.flatten(0, -2)).to(full)
        to_bias = None if bias is None else flat.sum(0, dtype=full)
        del normed
        inner = (gradient @ matrix.to(gradient.dtype)).to(full)
        kernel = torch.ops.aten.native_layer_norm_backward.default
        if mean is None:
            # The kernel, for rows whose mean is 0 and whose deviation is 1; the true deviation comes after it. In full
            # precision: half precisions want the statistics in another type on each device.
            still = torch.zeros_like(deviation), torch.ones_like(deviation)
            inner, to_weight, to_shift = kernel(inner, rows.to(full), width, *still, weight, shift, [True] * 3)
            inner = inner.mul_(deviation)
        else:
            inner, to_weight, to_shift = kernel(inner, rows, width, mean, deviation, weight, shift, [True] * 3)
        return inner.to(ctx.dtype), to_matrix, to_bias, to_weight, to_shift, None, None


class _ScaledLinear(torch.autograd.Function):
    """`x -> gamma * (W x + b)`, one matrix product; saves `x` and the parameters."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, matrix: Tensor, bias: Tensor | None, gamma: Tensor, dtype: torch.dtype) -> Tensor:
        ctx.input_dtype = x.dtype
        x = x.to(dtype)
        ctx.save_for_backward(x, matrix, bias, gamma)
        return F.linear(x, (matrix * gamma[:, None]).to(dtype), None if bias is None else (gamma * bias).to(dtype))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, matrix, bias, gamma = ctx.saved_tensors
        flat = gradient.flatten(0, -2)
        to_input = (gradient @ (matrix * gamma[:, None]).to(gradient.dtype)).to(ctx.input_dtype)
        # Of gamma * W and gamma * b; of their factors from there.
        to_matrix = (flat.t() @ x.flatten(0, -2).to(flat.dtype)).to(matrix.dtype)
        to_gamma = torch.linalg.vecdot(to_matrix, matrix)
        to_bias = None
        if bias is not None:
            to_bias = flat.sum(0, dtype=matrix.dtype)
            to_gamma += to_bias * bias
            to_bias *= gamma
        return to_input, to_matrix.mul_(gamma[:, None]), to_bias, to_gamma, None
