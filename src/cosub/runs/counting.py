"""FLOPs and bytes of a training step, counted while it runs, also on tensors without memory."""

import itertools
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry
from torch.utils.weak import WeakIdKeyDictionary


def count_parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@dataclass(frozen=True)
class Cost:
    """Of one forward and backward. The bytes exclude the model and the gradients of its parameters."""

    flops: int
    saved: int
    """Bytes stored between forward and backward: what backward needs, and the batch."""
    peak: int
    """Peak number of bytes."""


def cost(model: nn.Module, loss: Callable[[], Tensor]) -> Cost:
    """Count one step. `loss` makes its batch and runs the model forward; backward is run here.

    Unlike `saved_bytes`, this also counts what selective checkpointing stores. Works on real tensors, and on those of
    `without_memory`. Leaves the model without gradients.
    """
    model.zero_grad(set_to_none=True)
    with Ledger(itertools.chain(model.parameters(), model.buffers())) as ledger:
        value = loss()
        saved = ledger.total
        value.backward()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    peak = ledger.peak(gradients)
    del gradients
    model.zero_grad(set_to_none=True)
    return Cost(ledger.flops, saved, peak)


def without_memory(model: nn.Module) -> nn.Module:
    """Move a model from the meta device to the CPU, without memory, so that the CPU's own kernels are counted.

    Call it, and use the model, under one FakeTensorMode.
    """
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                empty = torch.empty(parameter.shape, dtype=parameter.dtype)
                module._parameters[name] = nn.Parameter(empty, requires_grad=parameter.requires_grad)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype)
    return model


@contextmanager
def saved_bytes(model: nn.Module) -> Iterator[list[int]]:
    """Bytes of the distinct storages that autograd saves, without those of parameters."""
    parameters = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
    storages: dict[int, Any] = {}
    total = [0]

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in parameters and storage._cdata not in storages:
            storages[storage._cdata] = storage  # kept alive, so that its address is not reused
            total[0] += storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield total


class Ledger(TorchDispatchMode):
    """Counts FLOPs of the operations while it is active, and the storages that they create and free.

    Storages of `present` do not count. One mode counts both, because a mode costs time at every operation.
    """

    def __init__(self, present: Iterable[Tensor]) -> None:
        super().__init__()
        self.flops = 0
        self.events: list[tuple[int, int]] = []  # number of the storage, and its bytes, negative when it is freed
        # A storage keeps its Python object as long as it lives, whichever tensors use it.
        self.numbers = WeakIdKeyDictionary(ref_type=weakref.ref)  # pyright: ignore[reportArgumentType]
        for tensor in present:
            self.numbers[tensor.untyped_storage()] = -1

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if isinstance(result, torch.device):  # tensors without memory query it all the time
            return result
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.flops += formula(*args, **kwargs, out_val=result)
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._note(tensor.untyped_storage())
        return result

    def _note(self, storage: torch.UntypedStorage) -> None:
        if storage in self.numbers:
            return
        number, size = len(self.events), storage.nbytes()
        self.numbers[storage] = number
        self.events.append((number, size))
        weakref.finalize(storage, self.events.append, (number, -size)).atexit = False

    @property
    def total(self) -> int:
        """Bytes that are allocated now."""
        return sum(size for _, size in self.events)

    def peak(self, without: Iterable[Tensor]) -> int:
        """Peak number of bytes, without those of some tensors that still exist."""
        left_out = {self.numbers.get(tensor.untyped_storage()) for tensor in without}
        return max(itertools.accumulate(size for number, size in self.events if number not in left_out), default=0)
