"""A loss or a gradient that is not finite: the update that is not made, and where in the network it began."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from cosub.train.sharding import local

MOST_IN_A_ROW = 10  # steps that may be skipped one after the other: then something is wrong with more than one batch


class Updates:
    """Makes the optimizer's updates, but none from a step that is not finite.

    AdamW's fused kernel reads the flag on the device, so the host need not wait for it: the flag then stays set, and
    the weights are those before the bad step until somebody looks. Where steps are skipped, and for other optimizers
    and sharded networks, the host reads the flag after each step (`reads`), and so waits for the device. In fp16 it
    is the scaler that leaves out updates whose gradient overflowed.
    """

    def __init__(self, optimizer: Optimizer, scaler: torch.GradScaler, skip: bool) -> None:
        self.optimizer, self.scaler = optimizer, scaler
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        fused = all(group.get("fused") for group in optimizer.param_groups)
        sharded = any(isinstance(parameter, DTensor) for parameter in parameters)
        self.reads = skip or sharded or not fused or scaler.is_enabled()
        self.bad = torch.zeros((), device=parameters[0].device)

    def clip(self, parameters: list[nn.Parameter], largest: float) -> Tensor:
        """Clip the gradient to a norm, or not at all for 0; returns its norm before that."""
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(parameters, largest or math.inf)
        norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
        norm = torch.nan_to_num(norm, 0, 0) if self.scaler.is_enabled() else norm  # an overflow is the scaler's
        return norm.detach().float()

    def make(self, bad: Tensor) -> bool:
        """Update the weights unless `bad`; False if it is known already that they stay as they are."""
        if not self.reads:
            self.bad = torch.maximum(self.bad, bad.float())
            self.optimizer.found_inf = self.bad  # pyright: ignore[reportAttributeAccessIssue]
            self.optimizer.step()
            return True
        fine = not bad.item()
        if fine or self.scaler.is_enabled():
            self.scaler.step(self.optimizer)
            self.scaler.update()
        return fine


def find_first_nonfinite(networks: Mapping[str, nn.Module], again: Callable[[], float]) -> str:
    """Where a step that is run again by `again`, which gives its loss, first has a value that is not finite.

    The module whose output ends first with such a value; else the loss; else the parameter whose gradient has one and
    that comes last in the network, so first in backward; empty where nothing shows.
    """
    found: list[str] = []

    def watch(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if not found and any(not value.isfinite().all() for value in _tensors(output)):
                found.append(name)

        return hook

    with ExitStack() as stack:
        for network, model in networks.items():
            for name, module in model.named_modules():
                title = ".".join(part for part in (network, name) if part)
                stack.enter_context(module.register_forward_hook(watch(title)))
        loss = again()
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
    """Running statistics as they are now: a forward with values that are not finite would spoil them for good."""
    return [buffer.clone() for network in networks.values() for buffer in network.buffers()]


def restore_buffers(networks: Mapping[str, nn.Module], kept: list[Tensor]) -> None:
    buffers = (buffer for network in networks.values() for buffer in network.buffers())
    for buffer, before in zip(buffers, kept, strict=True):
        buffer.copy_(before)
