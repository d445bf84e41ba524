"""The networks of the paper: parameters, FLOPs and residual layers, counted without memory; on a GPU also their speed.

FLOPs are multiply-accumulates, as in the paper, of one image, forward, in eval mode; for table 13 see `upernet_size`.
"""

import functools
import statistics
from dataclasses import dataclass
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import cosub.architectures  # noqa: F401  (registers them with timm)
from cosub.attachment import attach, layers_per_block
from cosub.paper.sizes.rows import ROWS, SizeRow
from cosub.runs.counting import count_parameters
from cosub.runs.network import create
from cosub.runs.timing import start_peak, time_in_turns

_ATEN = torch.ops.aten
_NOT_ATTENTION = (_ATEN.mm, _ATEN.addmm, _ATEN.convolution)


@dataclass(frozen=True)
class Size:
    """Parameters with 1000 classes, multiply-accumulates per image, residual layers (None: no twins)."""

    params: int
    macs: int
    layers: int | None


def compare(device: torch.device) -> list[dict[str, Any]]:
    """The paper's rows with our counts beside its numbers: millions of parameters, billions of multiply-accumulates.

    On a GPU each also has `images_per_second` and `peak_gb`, both None if memory does not suffice.
    """
    return [_compared(row, device) for row in ROWS]


def layers_of(model: nn.Module) -> int | None:
    """How many residual layers `cosub.attach` finds, None if it does not support the model. Leaves it attached."""
    try:
        return sum(layers_per_block(attach(model, drop_rate=0.1)))
    except ValueError:
        return None


@functools.cache
def size(name: str, resolution: int) -> Size:
    """Count a timm model, built on the meta device, on one image of `resolution` x `resolution` pixels."""
    with torch.device("meta"):
        model = create(name, resolution, 1000, {}).eval().requires_grad_(False)
        image = torch.empty(1, 3, resolution, resolution)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(image)
    return Size(count_parameters(model), counter.get_total_flops() // 2, layers_of(model))


@functools.cache
def upernet_size(name: str, resolution: int, width: int, num_classes: int = 150) -> Size:
    """Count UperNet on a timm model, built for crops of `resolution`, on an image four times as wide as high.

    All parameters are counted, and the multiply-accumulates that Table 13 counts: without attention's matrix products
    and without the auxiliary head.
    """
    from cosub.segmentation.backbones import ANY_SIZE, look
    from cosub.segmentation.network import Segmenter

    with torch.device("meta"):
        backbone = create(name, resolution, 0, {}, **ANY_SIZE)
        network = Segmenter(backbone, look(backbone, resolution), num_classes, width).eval()
        image = torch.empty(1, 3, resolution, 4 * resolution)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network.logits(image)
    counted = counter.get_flop_counts()["Global"]
    products = sum(number for kind, number in counted.items() if kind in _NOT_ATTENTION)
    return Size(count_parameters(network), products // 2, layers_of(backbone))


@functools.cache
def speed(name: str, resolution: int, device: torch.device, batch_size: int = 256, repeats: int = 10) -> dict[str, Any]:
    """Images per second (median) and, on a GPU, peak GB of 10^9 bytes (weights and images included) of forward.

    As the paper measures: batches of 256, mixed precision, eval mode. Both are None if memory does not suffice.
    """
    before = start_peak(device)
    try:
        with device:
            model = timm.create_model(name).eval()
            images = torch.randn(batch_size, 3, resolution, resolution)
        (seconds,) = time_in_turns(device, [(_forward, model, images)], repeats)
    except torch.OutOfMemoryError:
        return {"images_per_second": None, "peak_gb": None}
    result: dict[str, Any] = {"images_per_second": round(batch_size / statistics.median(seconds), 1)}
    if device.type == "cuda":
        result["peak_gb"] = round((torch.cuda.max_memory_allocated(device) - before) / 1e9, 3)
    return result


def _compared(row: SizeRow, device: torch.device) -> dict[str, Any]:
    ours = upernet_size(row.timm, row.resolution, row.decoder) if row.decoder else size(row.timm, row.resolution)
    return {
        "model": row.model,
        "timm": row.timm,
        "params_m": round(ours.params / 1e6, 3),
        "paper_params_m": row.params_m,
        "gflops": round(ours.macs / 1e9, 3),
        "paper_gflops": row.gflops,
        "layers": ours.layers,
        "resolution": row.resolution,
        "table": row.table,
        "note": row.note,
        **(_speed(row, device) if device.type == "cuda" else {}),
    }


def _speed(row: SizeRow, device: torch.device) -> dict[str, Any]:
    """The speed of a row; for UperNet the paper has none."""
    return {"images_per_second": None, "peak_gb": None} if row.decoder else speed(row.timm, row.resolution, device)


@torch.inference_mode()
def _forward(model: nn.Module, images: Tensor) -> None:
    with torch.autocast(images.device.type, torch.float16):  # entered each time, since it caches the cast weights
        model(images)
