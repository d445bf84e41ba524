"""What one training step costs: timm's masked drop path, the plain operation, ours, and co-training.

All ways alternate in one process, so that their ratios are comparable.
"""

import itertools
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import timm
import torch
from timm.layers.drop import DropPath
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

import cosub.architectures  # noqa: F401  (registers them with timm)
from cosub.attachment import attach
from cosub.choices import Operation, Way
from cosub.errors import InputError
from cosub.losses import label_loss
from cosub.recipes.methods import METHODS
from cosub.runs.counting import saved_bytes, without_memory
from cosub.runs.network import check_resolution, create
from cosub.runs.timing import seconds_of, start_peak
from cosub.train.methods import Method, build
from cosub.train.methods.alike import networks_alike
from cosub.train.networks import STUDENT, Networks
from cosub.twins import TWINS
from cosub.twins.compilation import compile_blocks

WAYS: tuple[Way, ...] = ("masked", "plain", "efficient", "cosub")  # by default

# Figure 2: weights, optimizer state, and compute of forward and backward, as multiples of supervised training.
FIGURE2: dict[str, dict[str, float]] = {
    "masked": {"weights": 1, "optimizer": 1, "compute": 1},
    "distill": {"weights": 2, "optimizer": 1, "compute": 1.33},
    "mean-teacher": {"weights": 2, "optimizer": 1, "compute": 1.33},
    "cotrain": {"weights": 2, "optimizer": 2, "compute": 2},
    "cosub": {"weights": 1, "optimizer": 1, "compute": 2},
}


@dataclass(frozen=True)
class Case:
    """What is measured."""

    model: str
    drop_rate: float
    batch_size: int
    resolution: int | None = None
    depth: int | None = None
    bf16: bool = False
    compiled: bool = False
    ways: tuple[Way, ...] = WAYS
    masked: Literal["whole", "blocks"] = "whole"
    """How the masked network is compiled; ours are always compiled by blocks."""
    backend: str | Callable[..., Any] = "inductor"


@dataclass(frozen=True)
class Candidate:
    """One way, ready to run: its networks by name, the trained ones among them, and from a batch to the loss."""

    networks: nn.ModuleDict
    trained: nn.ModuleList
    loss: Callable[[Tensor, Tensor], Tensor]
    after: Callable[[], None]
    """What a step does besides the optimizer."""


@dataclass(frozen=True)
class Timed:
    """Steps of one way."""

    seconds: tuple[float, ...]
    first: float
    """Seconds of the first step, which includes compiling; not among the others."""
    peak: int
    """Peak bytes of the last step, without what is allocated for other ways; 0 on a CPU."""

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def count(case: Case) -> dict[str, Any]:
    """FLOPs of one step, and bytes stored for its backward, without allocating the model.

    The attention matrix is not stored (fused attention). Parameters are not counted, but copies of them are.
    """
    flops, saved = {}, {}
    with torch.device("meta"):
        empty = {way: _networks(case, way) for way in case.ways}
    with FakeTensorMode():
        for way in case.ways:
            for network in empty[way].all.values():
                without_memory(network)
            candidate = _candidate(case, way, empty[way])
            batch = _batch(case, candidate.networks["network"], torch.device("cpu"))
            with FlopCounterMode(display=False) as counter:
                with saved_bytes(candidate.networks) as total:
                    loss = candidate.loss(*batch)
                loss.backward()
            flops[way], saved[way] = counter.get_total_flops(), total[0]
    return _result(case, "meta", flops=flops, saved_bytes=saved)


def measure(case: Case, device: torch.device, repeats: int) -> dict[str, Any]:
    """Seconds (median, minimum and maximum) and, on a GPU, peak bytes of a step: forward, loss, backward, optimizer.

    Each way has its own model and optimizer; its peak excludes what is allocated for the others.
    """
    candidates = {way: candidate(case, way, device) for way in case.ways}
    batch = make_batch(case, candidates[case.ways[0]], device)
    timed = take_turns(candidates, batch, device, repeats)
    medians = {way: found.median for way, found in timed.items()}
    spread = {way: [min(found.seconds), max(found.seconds)] for way, found in timed.items()}
    peak = {way: found.peak for way, found in timed.items() if device.type == "cuda"}
    result = _result(case, _name(device), seconds=medians, peak_bytes=peak)
    return {**result, "figure2": _figure2(candidates), "spread": spread, "repeats": repeats}


def candidate(case: Case, way: Way, device: torch.device) -> Candidate:
    """One way of a case, ready to run on a device."""
    with device:
        return _candidate(case, way, _networks(case, way))


def make_batch(case: Case, of: Candidate, device: torch.device) -> tuple[Tensor, Tensor]:
    """Random images and one-hot targets for the network of a candidate."""
    return _batch(case, of.networks["network"], device)


def _step(of: Candidate, batch: tuple[Tensor, Tensor], optimizer: torch.optim.Optimizer) -> None:
    of.loss(*batch).backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    of.after()


def take_turns(
    candidates: Mapping[Any, Candidate], batch: tuple[Tensor, Tensor], device: torch.device, repeats: int
) -> dict[Any, Timed]:
    """Alternate steps of all candidates on one batch, so that their ratios are comparable, after two warm-up turns."""
    optimizers = {
        name: torch.optim.AdamW(of.trained.parameters(), lr=1e-5, fused=True) for name, of in candidates.items()
    }
    seconds: dict[Any, list[float]] = {name: [] for name in candidates}
    peak = dict.fromkeys(candidates, 0)
    for _, (name, of) in itertools.product(range(repeats + 2), candidates.items()):
        before = start_peak(device)
        seconds[name].append(seconds_of(device, _step, of, batch, optimizers[name]))
        if device.type == "cuda":
            own = sum(p.nbytes for p in of.networks.parameters())
            own += 2 * sum(p.nbytes for p in of.trained.parameters())  # two moments
            peak[name] = torch.cuda.max_memory_allocated(device) - before + own
    return {name: Timed(tuple(found[2:]), found[0], peak[name]) for name, found in seconds.items()}


def _networks(case: Case, way: Way) -> Networks:
    """The networks that a way needs, all of the same architecture: a teacher has its student's size."""
    method = _method(way)
    if method is None:
        return Networks({STUDENT: _model(case)})
    return networks_alike(method, lambda: _model(case))


def _method(way: Way) -> Method | None:
    """The method of a way; None for the first three, which are operations, trained with the label loss."""
    return build(METHODS[way]()) if way in METHODS else None


def _candidate(case: Case, way: Way, networks: Networks) -> Candidate:
    method, trained = _method(way), list(networks.trained.values())
    for model in trained:
        model.train()
    network = networks.student
    if way == "masked":
        _mask(network, case.drop_rate)
        run: dict[str, Any] = {"network": _compile_masked(network, case) if case.compiled else network}
    else:
        operation = "plain" if way == "plain" else "efficient"
        for model in trained:
            _attach(case, model, method.copies if method is not None else 1, operation)
        run = networks.all
        if case.compiled:
            run |= {name: compile_blocks(model, backend=case.backend) for name, model in networks.trained.items()}

    def loss(images: Tensor, targets: Tensor) -> Tensor:
        with torch.autocast(images.device.type, torch.bfloat16, enabled=case.bf16):
            if method is None:
                return label_loss(run["network"](images), targets)
            return method(run, images, targets)[0]

    def after() -> None:
        if method is not None:
            method.after_step(networks.all)

    return Candidate(nn.ModuleDict(networks.all), nn.ModuleList(trained), loss, after)


def _compile_masked(network: nn.Module, case: Case) -> Callable[[Tensor], Tensor]:
    if case.masked == "whole":
        return torch.compile(network, backend=case.backend)
    for block in [module for module in network.modules() if type(module) in TWINS]:
        block.compile(dynamic=False, backend=case.backend)
    return network


def _attach(case: Case, model: nn.Module, copies: int, operation: Operation) -> None:
    try:
        attach(model, case.drop_rate, copies=copies, operation=operation)
    except ValueError as error:
        raise InputError(f"model: {case.model}: {error}") from error


def _figure2(candidates: Mapping[Any, Candidate]) -> dict[str, dict[str, Any]]:
    """Weights and optimizer state as multiples of one network's, beside the paper's figures."""
    found: dict[str, dict[str, Any]] = {}
    for way, candidate in candidates.items():
        one = sum(p.numel() for p in candidate.networks["network"].parameters())
        held, trained = (
            sum(p.numel() for p in modules.parameters()) for modules in (candidate.networks, candidate.trained)
        )
        ratios = {"weights": round(held / one, 4), "optimizer": round(trained / one, 4)}
        found[way] = {**ratios, "paper": FIGURE2.get(way)}
    return found


def _mask(model: nn.Module, rate: float) -> None:
    """Set timm's drop path in all layers that have a twin to one rate, as ours is."""
    for module in [module for module in model.modules() if type(module) in TWINS]:
        names = [name for name, _ in module.named_children() if name.startswith("drop_path")]
        for name in names or ["drop_path"]:  # without a rate, ResNet has None there
            setattr(module, name, DropPath(rate))


def _model(case: Case) -> nn.Module:
    if not timm.is_model(case.model) or any(mark in case.model for mark in ":/\\"):
        raise InputError(f"model: {case.model!r}: timm does not know it")
    settings: dict[str, Any] = {} if case.depth is None else {"depth": case.depth}
    try:
        default = timm.get_pretrained_cfg(case.model)
        resolution = case.resolution or (default.input_size[-1] if default else 224)
        model = create(case.model, resolution, 1000, settings)
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        what = f"model: {case.model}" if case.resolution is None else f"resolution: {case.resolution}: {case.model}"
        raise InputError(f"{what}: cannot be built ({' '.join(str(error).split())})") from error
    if case.resolution is not None:
        check_resolution(model, case.model, case.resolution)
    return model


def _batch(case: Case, model: Any, device: torch.device) -> tuple[Tensor, Tensor]:
    pixels = case.resolution or model.default_cfg["input_size"][-1]
    images = torch.randn(case.batch_size, 3, pixels, pixels, device=device)
    classes = torch.randint(0, model.num_classes, (case.batch_size,), device=device)
    return images, torch.nn.functional.one_hot(classes, model.num_classes).float()


def _result(case: Case, device: str, **measures: dict[str, Any]) -> dict[str, Any]:
    ratio = {
        name: {way: round(value / values["masked"], 4) for way, value in values.items()}
        for name, values in measures.items()
        if "masked" in values
    }
    return {
        "device": device,
        "model": case.model,
        "batch_size": case.batch_size,
        "drop_rate": case.drop_rate,
        "precision": "bf16" if case.bf16 else "fp32",
        "compiled": case.compiled,
        "threads": torch.get_num_threads(),
        **measures,
        "ratio": ratio,
    }


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
