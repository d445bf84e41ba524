"""A loss or gradient that is not finite: skip the update, and find where in the network it first occurs."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from cosub.train.sharding import local

_SMALLEST_SCALE = 1.0  # of the loss in fp16
MOST_IN_A_ROW = 10  # with so many skipped steps in a row, more than one batch is at fault, and the run ends


class Updates:
    """Makes the optimizer's updates, except from a step that is not finite.

    AdamW's fused kernel reads the flag on the device, so that the host need not wait: the flag then stays set, and the
    weights stay those before the bad step until the host reads the losses. If steps are skipped, and for other
    optimizers and sharded networks, the host reads the flag after each step (`reads`), which synchronises with the
    device. In fp16 the scaler skips updates whose gradient overflowed.
    """

    def __init__(self, optimizer: Optimizer, scaler: torch.GradScaler, skip: bool) -> None:
        self.optimizer, self.scaler = optimizer, scaler
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        fused = all(group.get("fused") for group in optimizer.param_groups)
        sharded = any(isinstance(parameter, DTensor) for parameter in parameters)
        self.reads = skip or sharded or not fused or scaler.is_enabled()
        self.bad = torch.zeros((), device=parameters[0].device)

    def clip(self, parameters: list[nn.Parameter], largest: float) -> Tensor:
        """Clip the gradient to a norm; 0 does not clip. Returns the norm before clipping."""
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(parameters, largest or math.inf)
        norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
        norm = torch.nan_to_num(norm, 0, 0) if self.scaler.is_enabled() else norm  # an overflow is the scaler's
        return norm.detach().float()

    def make(self, bad: Tensor) -> bool:
        """Update the weights unless `bad`. False if the host knows that they were not updated."""
        if not self.reads:
            self.bad = torch.maximum(self.bad, bad.float())
            self.optimizer.found_inf = self.bad  # pyright: ignore[reportAttributeAccessIssue]
            self.optimizer.step()
            return True
        fine = not bad.item()
        if fine or self.scaler.is_enabled():
            scale = self.scaler.get_scale()
            self.scaler.step(self.optimizer)
            self.scaler.update()
            # A gradient that overflows in fp16 fits at a lower scale. One that is not finite does at none.
            fine = fine and not self.scaler.get_scale() < min(scale, _SMALLEST_SCALE)
        return fine


def find_first_nonfinite(networks: Mapping[str, nn.Module], rerun: Callable[[], float]) -> str:
    """Where a step first has a value that is not finite. `rerun` runs the step again and returns its loss.

    In order: the first module whose output has such a value; the loss; of the parameters whose gradient has one, the
    last in the network, which is the first in backward. Empty if nothing is found.
    """
    found: list[str] = []

    def check(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if not found and any(not value.isfinite().all() for value in _tensors(output)):
                found.append(name)

        return hook

    with ExitStack() as stack:
        for network, model in networks.items():
            for name, module in model.named_modules():
                title = ".".join(part for part in (network, name) if part)
                stack.enter_context(module.register_forward_hook(check(title)))
        loss = rerun()
    if found:
        return f"in the output of {found[0]}"
    if not math.isfinite(loss):
        return "in the loss"
    gradients = [
        f"in the gradient of {network}.{name}"
        for network, model in networks.items()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None and not local(parameter.grad).isfinite().all()
    ]
    return gradients[-1] if gradients else ""


def _tensors(output: Any) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, tuple | list):
        for part in output:
            yield from _tensors(part)


def copied_buffers(networks: Mapping[str, nn.Module]) -> list[Tensor]:
    """Copies of the running statistics, which a forward with values that are not finite would corrupt."""
    return [buffer.clone() for network in networks.values() for buffer in network.buffers()]


def restore_buffers(networks: Mapping[str, nn.Module], kept: list[Tensor]) -> None:
    buffers = (buffer for network in networks.values() for buffer in network.buffers())
    for buffer, before in zip(buffers, kept, strict=True):
        buffer.copy_(before)
