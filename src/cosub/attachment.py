"""Attach submodel training to a model of timm, torchvision or transformers, in place, and detach it again."""

import functools
import operator
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, get_args

from torch import nn
from torch.distributed.tensor import DTensor
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import StochasticDepth

from cosub.choices import Operation, Rounding, Schedule
from cosub.submodel import Submodel, rates
from cosub.twins import FAMILIES, HOSTS, KEPT, REPLICATION_POINTS, TWINS, UNSUPPORTED, register_twins
from cosub.twins.classes import class_of, retype
from cosub.twins.guard import guard, unguard
from cosub.twins.host import Host
from cosub.twins.removal import absent_of, blocks_of
from cosub.twins.state import Place, State
from cosub.twins.twin import Twin, state

Model = TypeVar("Model", bound=nn.Module)


def attach(
    model: Model,
    drop_rate: float,
    copies: int = 2,
    seed: int = 0,
    schedule: Schedule = "uniform",
    rounding: Rounding = "nearest",
    operation: Operation = "efficient",
) -> Model:
    """Give a model efficient stochastic depth and, with `copies > 1`, several submodels per image.

    Works in place and returns the model; parameters, buffers and `state_dict` keys do not change. In train mode
    the model then returns `(copies * B, C)` for `B` images, copy after copy; in eval mode `(B, C)` by the full
    network. Attach first, then copy the network (averaged weights, teacher), then compile, then shard.

    Args:
        model: one of timm, torchvision or transformers, of a supported family, with its own drop path rate at 0.
        drop_rate: the paper's tau, in [0, 1).
        copies: submodels per image; 1 is plain efficient stochastic depth.
        seed: submodels are a function of (seed, step, rank).
        schedule: "uniform" (the paper) or "linear" (timm's ramp, see `submodel.rates`).
        rounding: how `R * (1 - drop_rate)` becomes a number of rows, see `submodel.count`.
        operation: "efficient", or "plain", its reference, which is bit-identical to the model's own where nothing is
            dropped.

    Raises:
        ValueError: for a value out of range, or a model that has no twins, whose own drop path is active, or that is
            attached already or sharded.
    """
    _require_integer("copies", copies, 1)
    _require_integer("seed", seed, -(2**63))
    for name, value, allowed in (
        ("rounding", rounding, get_args(Rounding)),
        ("operation", operation, get_args(Operation)),
    ):
        if value not in allowed:
            raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")
    _refuse_kind(model)
    register_twins(model)
    _refuse(model, copies)
    blocks = blocks_of(model)
    per_block = [TWINS[class_of(block)].layers_of(block) - len(absent_of(block)) for block in blocks]
    state = State(rates(drop_rate, schedule, per_block), copies, rounding, seed, weakref.ref(model), operation)
    points = [module for module in model.modules() if class_of(module) in REPLICATION_POINTS]
    first = (points or blocks)[0]
    for module in points:
        _place(module, REPLICATION_POINTS[class_of(module)], Place(state, 0, module is first))
    first_layer = 0
    for block, num_layers in zip(blocks, per_block, strict=True):
        _place(block, TWINS[class_of(block)], Place(state, first_layer, block is first, num_layers, absent_of(block)))
        first_layer += num_layers
    for module in list(model.modules()):
        if not isinstance(module, Twin) and "grad_checkpointing" in vars(module) and _is_timms(module):
            _host(module, state)
    guard(model, state)
    return model


def detach(model: Model) -> Model:
    """Undo `attach` in place: every module has its own class again.

    Raises:
        ValueError: if nothing is attached, the model is sharded, or it is slimmed so that timm's own forward would
            compute something else.
    """
    checkpointing = state(model).checkpointing in ("selective", "blocks")
    _refuse_sharded(model)
    if state(model).scale != 1 or any(isinstance(module, Twin) and module.cosub.absent for module in model.modules()):
        raise ValueError("this network is slimmed and runs only attached: cosub export writes a plain one")
    unguard(model)
    for module in model.modules():
        if isinstance(module, Twin):
            del module.cosub
            retype(module, module.timm_class)
        elif isinstance(module, Host):
            del module.cosub
            retype(module, class_of(module).timm_class)  # pyright: ignore[reportAttributeAccessIssue]
            module.grad_checkpointing = checkpointing
    return model


def copies(model: nn.Module) -> int:
    """How many submodels each image passes through in train mode.

    Raises:
        ValueError: if nothing is attached.
    """
    return state(model).copies


@contextmanager
def active(model: nn.Module, submodel: Submodel) -> Iterator[None]:
    """Run a chosen submodel inside the `with` block, in train or eval mode. Its rows are a multiple of the images.

    Raises:
        ValueError: if nothing is attached, or the submodel has another number of layers.
    """
    shared = state(model)
    if submodel.num_layers != len(shared.rates):
        raise ValueError(f"the submodel has {submodel.num_layers} residual layers and the model {len(shared.rates)}")
    before, shared.chosen = shared.chosen, submodel
    try:
        yield
    finally:
        shared.chosen = before


def layers_per_block(model: nn.Module) -> tuple[int, ...]:
    """How many residual layers each block of an attached model has, in order."""
    places = [module.cosub for module in model.modules() if isinstance(module, Twin)]
    return tuple(place.num_layers for place in places if place.num_layers)


def _place(module: nn.Module, twin: type[nn.Module], place: Place) -> None:
    retype(module, twin)
    module.cosub = place  # pyright: ignore[reportArgumentType]


def _host(module: nn.Module, shared: State) -> None:
    if vars(module).pop("grad_checkpointing"):
        shared.checkpointing = "blocks"
    _place(module, _host_class(class_of(module)), Place(shared, 0, False))


def _require_integer(name: str, value: Any, lowest: int) -> None:
    try:
        found = operator.index(value)
    except TypeError:
        found = None
    if found is None or not lowest <= found < 2**63:
        raise ValueError(f"{name} must be at least {lowest} and below 2^63, an integer; got {value!r}")


def _is_timms(module: nn.Module) -> bool:
    """Or of a class that extends one of timm's or ours: what else has such a flag checkpoints something of its own."""
    return any(kind.__module__.startswith(("timm.", "cosub.")) for kind in type(module).__mro__)


@functools.cache
def _host_class(timm_class: type[nn.Module]) -> type[nn.Module]:
    """A host that subclasses the module's own class: many of timm's change what surrounds the blocks."""
    mixin = next((host for base, host in HOSTS.items() if issubclass(timm_class, base)), Host)
    bases = (mixin,) if timm_class in mixin.__mro__ else (mixin, timm_class)
    members = {"timm_class": timm_class, "__reduce_ex__": _reduce}
    return type(f"Attached{timm_class.__name__}", bases, members)


def _reduce(module: nn.Module, _protocol: Any) -> tuple[Any, ...]:
    """Host classes are made on demand, so a pickle names the timm class, and loading makes its host again."""
    return _make, (type(module).timm_class,), vars(module)  # pyright: ignore[reportAttributeAccessIssue]


def _make(timm_class: type[nn.Module]) -> nn.Module:
    host = _host_class(timm_class)
    return host.__new__(host)


def _refuse_kind(model: object) -> None:
    if not isinstance(model, nn.Module):
        raise ValueError(f"model: must be a torch.nn.Module, got {type(model).__name__}")
    if hasattr(model, "_orig_mod"):  # what torch.compile returns
        raise ValueError(
            "the model is compiled: attach first, then cosub.compile_blocks(model) or torch.compile(model)"
        )
    if any(isinstance(module, nn.DataParallel) for module in model.modules()):
        raise ValueError("DataParallel's replicas would share one state: attach first, then DistributedDataParallel")


def _refuse(model: nn.Module, copies: int) -> None:
    if any(isinstance(module, Twin) for module in model.modules()):
        raise ValueError("this model is attached already: call cosub.detach(model) first")
    _refuse_sharded(model)
    droppable = {class_of(module) for module in model.modules() if _has_drop_path(module)}
    missing = sorted(kind.__name__ for kind in droppable if kind not in TWINS and kind not in KEPT)
    unsupported = sorted({type(module).__name__ for module in model.modules() if class_of(module) in UNSUPPORTED})
    if missing or unsupported or not blocks_of(model):
        found = f"blocks without a twin: {', '.join(missing)}" if missing else "no block that has a twin"
        if unsupported:
            found = f"modules that group rows in their own way: {', '.join(unsupported)}"
        raise ValueError(
            f"{type(model).__name__} has {found}; supported families: {', '.join(FAMILIES)} "
            "(a new one is a file in cosub/twins and a line in its table: docs/adding.md)"
        )
    if own := [type(block).__name__ for block in blocks_of(model) if "forward" in vars(block)]:
        raise ValueError(f"{own[0]} has a forward of its own, set on the instance: attach first, then change it")
    places = [
        child
        for module in model.modules()
        for child in module._modules.values()
        if child is not None and class_of(child) in TWINS
    ]
    if twice := [block for block in places if places.count(block) > 1]:
        raise ValueError(
            f"{type(model).__name__} runs one {type(twice[0]).__name__} in several places, and each block has rows of "
            "its own: copy.deepcopy the block for each place"
        )
    for name, module in model.named_modules():
        if rate := _own_rate(module):
            raise ValueError(
                f"the model's own drop path is live ({name}: {rate:g}), and both would act: {_remedy(module)}"
            )
    if copies > 1 and any(isinstance(module, GeneralizedRCNNTransform) for module in model.modules()):
        raise ValueError(
            f"{type(model).__name__} takes a list of images and needs one row for each, not {copies}: "
            "attach it with copies=1"
        )


def _own_rate(module: Any) -> float:
    """The rate of a module that is stochastic depth itself: of timm, transformers or torchvision."""
    if isinstance(module, StochasticDepth):
        return module.p
    return getattr(module, "drop_prob", None) or 0.0 if type(module).__name__.endswith("DropPath") else 0.0


def _remedy(module: nn.Module) -> str:
    """How to build a model without stochastic depth of its own."""
    if isinstance(module, StochasticDepth):
        return "set p = 0.0 on every torchvision.ops.StochasticDepth in model.modules()"
    if type(module).__module__.startswith("transformers."):
        return "build it from a config with drop_path_rate=0.0"
    return "build it with timm.create_model(..., drop_path_rate=0.0)"


def _has_drop_path(module: nn.Module) -> bool:
    """Whether a module has a slot for stochastic depth."""
    return any(
        name.startswith("drop_path") or isinstance(child, StochasticDepth) for name, child in module.named_children()
    )


def _refuse_sharded(model: nn.Module) -> None:
    if any(isinstance(parameter, DTensor) for parameter in model.parameters()):
        raise ValueError(
            "the model is sharded: attach or detach first, then copy the network, then compile, then shard"
        )
