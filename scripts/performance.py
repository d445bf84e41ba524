"""The rows of docs/performance.md that need no GPU (for the others see scripts/card.py), in one call.

    python scripts/performance.py                # counts, and times on this machine's CPU (about ten minutes)
    python scripts/performance.py families       # one model per family, on this machine's CPU (about ten minutes)
    python scripts/performance.py compiled       # bytes that compiled blocks read and write (about five minutes)

Prints one JSON object per row and writes all of them, with the plots, to out/performance.
"""

import dataclasses
import json
import sys
from pathlib import Path

import torch
from torch._inductor import metrics

from cosub.bench.step import Case, candidate, count, make_batch, measure
from cosub.choices import Way
from cosub.runs.drawing import looks, panels, save
from cosub.runs.ways import WAYS

OUT = Path("out/performance")
HUGE, LARGE, BASE, SMALL = (
    f"deit3_{size}_224" for size in ("huge_patch14", "large_patch16", "base_patch16", "small_patch16")
)


def counts() -> list[dict]:
    cases = [
        Case(m, rate, 32, bf16=low) for low in (False, True) for m, rate in ((HUGE, 0.6), (LARGE, 0.45), (BASE, 0.2))
    ]
    return [count(case) for case in cases]


def sweep() -> dict[str, list[tuple[float, dict]]]:
    """Activation memory against the rate, the batch and the depth."""
    rates = [(rate, count(Case(LARGE, rate, 32))) for rate in (0.05, 0.1, 0.2, 0.3, 0.45, 0.6, 0.75)]
    batches = [(size, count(Case(LARGE, 0.45, size))) for size in (4, 8, 16, 32, 64)]
    depths = [(depth, count(Case(LARGE, 0.45, 32, depth=depth))) for depth in (3, 6, 12, 24, 48)]
    return {"drop rate": rates, "images": batches, "blocks": depths}


def cpu() -> list[dict]:
    device = torch.device("cpu")
    rows = [measure(Case(SMALL, 0.5, 16), device, 9)]
    return rows + [measure(Case(SMALL, rate, 16), device, 3) for rate in (0.05, 0.1, 0.2)]


FAMILIES = {
    "ViT": "deit3_small_patch16_224",
    "BEiT": "beit_base_patch16_224",
    "CaiT": "cait_xxs24_224",
    "PiT": "pit_s_224",
    "XCiT": "xcit_small_12_p16_224",
    "Swin": "swin_tiny_patch4_window7_224",
    "ConvNeXt": "convnext_tiny",
    "ResNet": "resnet50",
    "RegNet": "regnety_040",
    "EfficientNetV2": "tf_efficientnetv2_b3",
    "PatchConvNet": "patchconvnet_s60",
}


def families() -> list[dict]:
    """One model per family: activation memory and time, efficient to masked, at rate 0.5, 8 images of 224 pixels."""
    rows = []
    for family, model in FAMILIES.items():
        case = Case(model, 0.5, 8, resolution=None, ways=("masked", "efficient"))
        counted, timed = count(case), measure(case, torch.device("cpu"), 5)
        rows.append({"family": family, **timed, **{key: counted[key] for key in ("flops", "saved_bytes")}})
        rows[-1]["ratio"] = {**counted["ratio"], **timed["ratio"]}
        print(f"| {family} | {model} |", *(f"{rows[-1]['ratio'][k]['efficient']:.3f} |" for k in _RATIOS), flush=True)
    return rows


_RATIOS = ("flops", "saved_bytes", "seconds")


def compiled() -> list[dict]:
    """Bytes that the kernels of a compiled block read and write for an image, forward and backward, bf16.

    As Inductor counts them. What does not depend on the number of images, such as weights, is left out.
    """
    torch._logging.set_logs(inductor_metrics=True)  # it counts only where it would log
    rows = []
    for model, rate in ((HUGE, 0.6), (LARGE, 0.45), (BASE, 0.2)):
        case = Case(model, rate, 16, depth=1, bf16=True, compiled=True, masked="blocks")
        moved = {way: _moved(case, way, 32) - _moved(case, way, 16) for way in case.ways}
        ratio = {way: round(value / moved["masked"], 3) for way, value in moved.items()}
        rows.append({"model": model, "drop_rate": rate, "bytes_per_image": moved["masked"] / 16, "ratio": ratio})
    return rows


def _moved(case: Case, way: Way, images: int) -> int:
    torch._dynamo.reset()
    metrics.reset()
    case, cpu = dataclasses.replace(case, batch_size=images), torch.device("cpu")
    network = candidate(case, way, cpu)
    with torch._inductor.config.patch(force_disable_caches=True):
        network.loss(*make_batch(case, network, cpu)).backward()
    return metrics.num_bytes_accessed


# Of a count: as which way it is drawn, and what it is.
_DRAWN = {
    "plain": ("plain", "the same rows, by index_select and index_add (plain)"),
    "efficient": ("supervised", "efficient stochastic depth (ours)"),
    "cosub": ("cosub", "co-training, two submodels per image (ours)"),
}
_TITLES = {"drop rate": "32 images, 24 blocks", "images": "rate 0.45, 24 blocks", "blocks": "rate 0.45, 32 images"}


def plot(curves: dict[str, list[tuple[float, dict]]], target: Path) -> None:
    title = "Activation memory of a training step, relative to masking (ViT-L, 224 pixels, float32)"
    figure, (axes,) = panels(9, 3.1, title, columns=3, sharey=True)
    for panel, (name, points) in zip(axes, curves.items(), strict=True):
        for (key, (_, label)), style in zip(_DRAWN.items(), looks([way for way, _ in _DRAWN.values()]), strict=True):
            panel.plot(
                [x for x, _ in points], [row["ratio"]["saved_bytes"][key] for _, row in points], label=label, **style
            )
        panel.axhline(1, color=WAYS["masking"].colour, label="timm's masked drop path")
        panel.set(xlabel=name, title=_TITLES[name], ylim=(0, None))
    axes[0].set(ylabel="activation memory, relative to masking")
    save(figure, target)


if __name__ == "__main__":
    OUT.mkdir(parents=True, exist_ok=True)
    only = {"families": families, "compiled": compiled}
    chosen = only.get(sys.argv[-1])
    found = chosen() if chosen else counts() + cpu()
    (OUT / "rows.json").write_text(json.dumps(found, indent=1) + "\n")
    for row in found:
        print(json.dumps(row))
    if chosen is None:
        plot(sweep(), OUT / "saved-bytes.png")
