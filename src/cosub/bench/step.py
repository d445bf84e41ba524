"""What one training step costs: timm's masked drop path, the plain operation, ours, and co-training.

All ways are interleaved in one process, so that their ratios mean something.
"""

import itertools
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import timm
import torch
from timm.layers.drop import DropPath
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

import cosub.models  # noqa: F401  (timm then knows their names)
from cosub.attachment import attach, compile_blocks
from cosub.blocks import TWINS
from cosub.counting import saved_bytes, without_memory
from cosub.errors import InputError
from cosub.losses import cosub_loss, label_loss
from cosub.network import check_resolution

Way = Literal["masked", "plain", "efficient", "cosub"]
WAYS: tuple[Way, ...] = ("masked", "plain", "efficient", "cosub")


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


@dataclass(frozen=True)
class Candidate:
    """One way made ready: a model of its own, and from a batch to the loss."""

    model: nn.Module
    loss: Callable[[Tensor, Tensor], Tensor]


def count(case: Case) -> dict[str, Any]:
    """FLOPs and bytes saved for backward of one step, without allocating the model.

    The attention matrix is not saved (fused attention); parameters are not counted, copies of them are.
    """
    flops, saved = {}, {}
    with torch.device("meta"):
        empty = {way: _model(case) for way in case.ways}
    with FakeTensorMode():
        for way in case.ways:
            candidate = _candidate(case, way, without_memory(empty[way]))
            batch = _batch(case, candidate.model, torch.device("cpu"))
            with FlopCounterMode(display=False) as counter:
                with saved_bytes(candidate.model) as total:
                    loss = candidate.loss(*batch)
                loss.backward()
            flops[way], saved[way] = counter.get_total_flops(), total[0]
    return _result(case, "meta", flops=flops, saved_bytes=saved)


def measure(case: Case, device: torch.device, repeats: int) -> dict[str, Any]:
    """Seconds (median, least and most) and, on a GPU, peak bytes of a step: forward, loss, backward, optimizer.

    Each way has a model and an optimizer of its own; a way's peak leaves out what lies there for the others.
    """
    candidates = {way: _candidate(case, way, _model(case).to(device)) for way in case.ways}
    optimizers = {
        way: torch.optim.AdamW(candidate.model.parameters(), lr=1e-5, fused=True)
        for way, candidate in candidates.items()
    }
    batch = _batch(case, candidates[case.ways[0]].model, device)
    seconds: dict[str, list[float]] = {way: [] for way in case.ways}
    peak: dict[str, int] = {}
    for turn, way in itertools.product(range(-2, repeats), case.ways):  # two turns to warm up, and to compile
        _synchronize(device)
        before = _start_peak(device)
        start = time.perf_counter()
        candidates[way].loss(*batch).backward()
        optimizers[way].step()
        optimizers[way].zero_grad(set_to_none=True)
        _synchronize(device)
        if turn >= 0:
            seconds[way].append(time.perf_counter() - start)
            if device.type == "cuda":
                own = 3 * sum(p.nbytes for p in candidates[way].model.parameters())  # weights, two moments
                peak[way] = torch.cuda.max_memory_allocated(device) - before + own
    medians = {way: statistics.median(values) for way, values in seconds.items()}
    spread = {way: [min(values), max(values)] for way, values in seconds.items()}
    return {**_result(case, _name(device), seconds=medians, peak_bytes=peak), "spread": spread, "repeats": repeats}


def _candidate(case: Case, way: Way, model: nn.Module) -> Candidate:
    device = next(model.parameters()).device
    model.train()
    run: Callable[[Tensor], Tensor] = model
    if way == "masked":
        _mask(model, case.drop_rate)
        run = torch.compile(model) if case.compiled else model
    else:
        operation = "plain" if way == "plain" else "efficient"
        try:
            attach(model, case.drop_rate, copies=2 if way == "cosub" else 1, operation=operation)
        except ValueError as error:
            raise InputError(f"model: {case.model}: {error}") from error
        run = compile_blocks(model) if case.compiled else model

    def loss(images: Tensor, targets: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=case.bf16):
            logits = run(images)
            return cosub_loss(logits, targets) if way == "cosub" else label_loss(logits, targets)

    return Candidate(model, loss)


def _mask(model: nn.Module, rate: float) -> None:
    """timm's drop path in all layers that have a twin, at one rate, as ours."""
    for module in [module for module in model.modules() if type(module) in TWINS]:
        names = [name for name, _ in module.named_children() if name.startswith("drop_path")]
        for name in names or ["drop_path"]:  # ResNet has None there where there is no rate
            setattr(module, name, DropPath(rate))


def _model(case: Case) -> nn.Module:
    if not timm.is_model(case.model) or any(mark in case.model for mark in ":/\\"):
        raise InputError(f"model: {case.model!r}: timm does not know it")
    # As the papers train it: timm starts the LayerScale of DeiT-III at another value, which costs the same.
    size: dict[str, Any] = {"drop_path_rate": 0.0}  # some ship with one of their own
    if case.resolution is not None:
        size["img_size"] = case.resolution
    if case.depth is not None:
        size["depth"] = case.depth
    try:
        model = timm.create_model(case.model, **size)
    except (TypeError, ValueError, AssertionError) as error:
        raise InputError(f"resolution: {case.resolution}: {case.model} cannot be built at it ({error})") from error
    if case.resolution is not None:
        check_resolution(model, case.model, case.resolution)
    return model


def _batch(case: Case, model: Any, device: torch.device) -> tuple[Tensor, Tensor]:
    pixels = case.resolution or model.default_cfg["input_size"][-1]
    images = torch.randn(case.batch_size, 3, pixels, pixels, device=device)
    return images, torch.randint(0, model.num_classes, (case.batch_size,), device=device)


def _start_peak(device: torch.device) -> int:
    if device.type != "cuda":
        return 0
    torch.cuda.reset_peak_memory_stats(device)
    return torch.cuda.memory_allocated(device)


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


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
