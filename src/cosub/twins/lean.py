"""Store less in eager mode: where a matrix product reads the output of GELU or layer norm, backward recomputes it.

Autograd stores the inputs of these two anyway, and the kernel is the same, so gradients are bit-identical. Where that
is not certain, the product stores its input as usual.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from timm.layers.norm import LayerNorm, LayerNorm2d, LayerNormFp32
from torch import Tensor, nn
from torch.nn import functional

from cosub.residual import transformed

# Autograd nodes of matrix products: name of the saved input, and index of its edge.
_PRODUCTS = {"AddmmBackward0": ("mat1", 1), "MmBackward0": ("self", 0), "ConvolutionBackward0": ("input", 0)}
_BETWEEN = ("ViewBackward0", "UnsafeViewBackward0", "ToCopyBackward0")
_NORMS = (nn.LayerNorm, LayerNorm, LayerNorm2d, LayerNormFp32)
_KNOWN = ("torch", "timm", "torchvision", "transformers", "cosub")


def store_less(block: nn.Module, kept: Tensor, added: Tensor) -> None:
    """Free what the products in a branch of `block`, from `kept` to `added`, store and backward can recompute."""
    if kept.grad_fn is None or added.grad_fn is None or not _certain(block):
        return
    for node in _nodes(added.grad_fn, kept.grad_fn._sequence_nr()):
        name, edge = _PRODUCTS.get(node.name(), ("", 0))
        given: Tensor | None = getattr(node, f"_saved_{name}", None)
        if given is None or given._version:  # a version above 0 was written in place
            continue
        recompute = _recompute(block, node.next_functions[edge][0])
        if recompute is not None:
            shape, dtype = given.shape, given.dtype
            stored = getattr(node, f"_raw_saved_{name}")
            stored.register_hooks(lambda _: None, lambda _, run=recompute, s=shape, d=dtype: run().to(d).view(s))


def _certain(block: nn.Module) -> bool:
    """Whether the branch runs only code of known libraries, and no other hooks pack what autograd saves."""
    if (
        torch._C._autograd._top_saved_tensors_default_hooks(True) is not None  # pyright: ignore[reportAttributeAccessIssue]
        or transformed()
    ):
        return False
    modules = block.modules()
    next(modules)  # the block's own hooks run outside of its branches
    return all(
        type(module).__module__.partition(".")[0] in _KNOWN
        and "forward" not in vars(module)
        and not (module._forward_hooks or module._forward_pre_hooks)
        for module in modules
    )


def _nodes(last: Any, before: int) -> Iterator[Any]:
    """The autograd nodes of a branch, from its result back to nodes that are older than the branch."""
    todo, seen = [last], set()
    while todo:
        node = todo.pop()
        if node is None or node in seen or node._sequence_nr() <= before:
            continue
        seen.add(node)
        yield node
        todo.extend(other for other, _ in node.next_functions)


def _recompute(block: nn.Module, node: Any) -> Callable[[], Tensor] | None:
    """A function that recomputes the output of `node`, if that is a GELU or a layer norm of the block."""
    while node is not None and node.name() in _BETWEEN:
        node = node.next_functions[0][0]
    if node is None:
        return None
    if node.name() == "GeluBackward0":
        return lambda: functional.gelu(node._saved_self, approximate=node._saved_approximate)
    if node.name() != "NativeLayerNormBackward0":
        return None
    weight = node._saved_weight
    norm: Any = next((part for part in block.modules() if getattr(part, "weight", None) is weight), None)
    if type(norm) not in _NORMS:
        return None
    eps, shape = norm.eps, node._saved_normalized_shape
    return lambda: torch.layer_norm(node._saved_input, shape, node._saved_weight, node._saved_bias, eps)
