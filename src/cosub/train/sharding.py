"""Networks sharded over processes (FSDP2), and the whole tensors that checkpoints hold.

A checkpoint does not depend on how many processes wrote it: `full` gathers tensors, and loading splits them again. If
nothing is sharded, both leave tensors as they are.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim.swa_utils import AveragedModel

from cosub.runs.distributed import World
from cosub.train.networks import Networks
from cosub.twins.twin import Twin


def shard(network: nn.Module, world: World) -> None:
    """Shard the parameters of an attached network in place: each block is a unit, and the rest is one.

    Copy the network before.
    """
    mesh = init_device_mesh(world.device.type, (world.size,))
    for module in list(network.modules()):
        if isinstance(module, Twin) and module.cosub.num_layers:
            fully_shard(module, mesh=mesh)
    # The root too reshards after forward, because an averaged network has no backward in which it would.
    fully_shard(network, mesh=mesh, reshard_after_forward=True)


def shard_all(networks: Networks, world: World) -> None:
    """Shard all networks of a run; of an average, the network inside."""
    for network in networks.all.values():
        shard(network.module if isinstance(network, AveragedModel) else network, world)


def local(tensor: Tensor) -> Tensor:
    """The part of a tensor that this process holds."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def full(values: Any, keep: bool = True) -> Any:
    """Nested values with whole tensors on the CPU. All processes call it; without `keep` one gets None for tensors.

    Tensors are gathered one at a time, so that processes without `keep` need no memory for all of them.
    """
    if isinstance(values, dict):
        return {key: full(value, keep) for key, value in values.items()}
    if isinstance(values, list):
        return [full(value, keep) for value in values]
    if not isinstance(values, Tensor):
        return values
    whole = values.full_tensor() if isinstance(values, DTensor) else values
    return whole.detach().cpu() if keep else None


def load_network(network: nn.Module, weights: dict[str, Tensor]) -> None:
    """`load_state_dict` of whole tensors into a network that may be sharded."""
    own = network.state_dict()
    network.load_state_dict({name: _split(value, own.get(name)) for name, value in weights.items()})


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """`load_state_dict` of whole tensors into an optimizer whose parameters may be sharded.

    torch's own functions turn the counters of some optimizers into single-precision tensors, with which a continued run
    is not bit-identical.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    moments = {
        index: {key: _split(value, parameters[index]) for key, value in entry.items()}
        for index, entry in state["state"].items()
    }
    optimizer.load_state_dict({**state, "state": moments})


def _split(value: Any, reference: Any) -> Any:
    """`value` sharded as `reference` is, if that is a sharded tensor of the same shape."""
    if not (isinstance(reference, DTensor) and isinstance(value, Tensor) and value.shape == reference.shape):
        return value
    value = value.to(reference.device)
    return distribute_tensor(value, reference.device_mesh, reference.placements, src_data_rank=None)
