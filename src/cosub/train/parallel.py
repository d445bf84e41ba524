"""Gradients over several processes: DistributedDataParallel, which synchronises only with the last micro-step."""

import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.nn.parallel import DistributedDataParallel
from torch.utils._pytree import tree_leaves

from cosub.runs.distributed import World

Runners = Mapping[str, nn.Module]
"""The trained networks in the form in which they are called: wrapped, if there are several processes."""


def parallel(trained: Runners, resolution: int, world: World) -> Runners:
    """Networks in train mode, wrapped if there are several processes."""
    return {name: _wrapped(network.train(), resolution, world) for name, network in trained.items()}


def _wrapped(network: nn.Module, resolution: int, world: World) -> nn.Module:
    """DistributedDataParallel, after one discarded backward, by which it orders its buckets.

    A sharded network, or one of a single process, is returned as it is.
    """
    if world.size == 1 or isinstance(network, FSDPModule):
        return network
    device_ids = [world.device.index] if world.device.type == "cuda" else None
    runner = DistributedDataParallel(network, device_ids=device_ids, gradient_as_bucket_view=True)
    # A gradient with one row, such as the class token's, has other strides than its bucket; copying it costs little.
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
    runner.eval()  # the full network; running statistics stay as they are
    sum_of_outputs(runner(torch.zeros(1, 3, resolution, resolution, device=world.device))).backward()
    network.zero_grad(set_to_none=True)
    return runner.train()


def sum_of_outputs(outputs: Any) -> Tensor:
    """A sum over all outputs of a network, for a backward that is discarded."""
    return torch.stack([values.float().sum() for values in tree_leaves(outputs)]).sum()


@contextmanager
def synchronised(runners: Iterable[nn.Module], last: bool) -> Iterator[None]:
    """Synchronise gradients over processes only with the last micro-step."""
    with ExitStack() as stack:
        for runner in runners:
            if isinstance(runner, FSDPModule):
                runner.set_requires_gradient_sync(last)
            elif isinstance(runner, DistributedDataParallel) and not last:
                stack.enter_context(runner.no_sync())
        yield
