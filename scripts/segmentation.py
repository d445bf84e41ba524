"""Train a backbone and a segmenter on CamVid, evaluate, and make the table and figure of docs/results.md.

    python scripts/segmentation.py --tiny-imagenet PATH --camvid PATH --out out/segmentation   # two cores, half an hour

The backbone, a ConvNeXt of 3.4 M parameters, is co-trained for one epoch on Tiny ImageNet's 20,000 images, at 32
pixels. The figure shows maps without photographs, because CamVid's may not be republished. The same command continues
after an interruption.
"""

import sys
from pathlib import Path

from cosub.cli import main
from cosub.data.sources import open_source
from cosub.runs.distributed import World, join
from cosub.runs.folder import Trained, load_run
from cosub.segmentation.evaluation import MULTI, SINGLE, Result, evaluate, viewer
from cosub.segmentation.overlays import show_scenes

BACKBONE = ["--source", "hub", "--data.test-split", "validation", "--model", "convnext_atto", "--resolution", "32"]
BACKBONE += ["--model-args", "ls_init_value=0.1", "conv_mlp=false", "--epochs", "1", "--batch-size", "64"]
BACKBONE += ["--lr", "1e-3", "--optimizer.lr-rule", "constant", "--optimizer.warmup-epochs", "0.1", "--weight", "0.5"]
BACKBONE += ["--loss", "ce-soft"]


def train(recipe: str, data: Path, out: Path, *more: str) -> None:
    if main(["train", recipe, "--data.path", str(data), "--out", str(out), *more]):
        raise SystemExit(1)


def run(images: Path, scenes: Path, out: Path) -> None:
    train("cifar10", images, out / "backbone", *BACKBONE)
    train("camvid", scenes, out / "camvid", "--weights", str(out / "backbone"))
    trained, world = load_run(out / "camvid"), join("cpu")
    test = open_source(trained.recipe.data).test
    modes = {"single scale": SINGLE, "multi-scale": MULTI}
    results = {
        name: evaluate(trained.network, test, trained.classes, trained.recipe, world, mode=mode)
        for name, mode in modes.items()
    }
    print("\n".join(table(results)))
    draw(trained, test, world, out / "camvid.png")


def table(results: dict[str, Result]) -> list[str]:
    lines = ["| class | share of the pixels | " + " | ".join(f"IoU, {name}" for name in results) + " |"]
    lines.append("|---" * (2 + len(results)) + "|")
    total = sum(score.pixels for score in next(iter(results.values())).classes)
    for scores in zip(*(result.classes for result in results.values()), strict=True):
        values = "".join(f" {100 * score.iou:.1f} |" for score in scores)
        lines.append(f"| {scores[0].name} | {scores[0].pixels / total:.1%} |{values}")
    for name in ("miou", "mean_accuracy", "accuracy"):
        values = "".join(f" {100 * getattr(result, name):.2f} |" for result in results.values())
        lines.append(f"| {name} | |{values}")
    return lines


def draw(trained: Trained, test, world: World, target: Path) -> None:
    look = viewer(trained.recipe, trained.network, SINGLE, world.device)
    show_scenes(trained.network, test, trained.classes, look, 6, target, photographs=False)


if __name__ == "__main__":
    words = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=False))
    if not {"--tiny-imagenet", "--camvid", "--out"} <= words.keys():
        raise SystemExit("usage: python scripts/segmentation.py --tiny-imagenet PATH --camvid PATH --out FOLDER")
    run(*(Path(words[name]) for name in ("--tiny-imagenet", "--camvid", "--out")))
