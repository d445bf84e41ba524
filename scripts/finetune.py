"""Fine-tuning against training from scratch on few images, supervised and co-trained.

    OMP_NUM_THREADS=1 python scripts/finetune.py --data PATH --out out/finetune      # about 20 minutes on one core

PATH holds tiny-imagenet-dev and cifar10 in the Hub's layout. A small ViT is pre-trained, supervised, on Tiny ImageNet
at 48 pixels; `finetune` trains it further on 500 images of CIFAR-10 at 32 pixels, with layer decay. From scratch it is
trained on the same number of images, with one rate for all layers. For each of the four ways, the better of two
learning rates is selected on 500 validation images (seed 0), and repeated with other seeds. Writes finetune.json and
prints a table; the same command continues after an interruption.
"""

import json
import statistics
import sys
from pathlib import Path

from cosub.cli import main
from cosub.runs.folder import RunFolder

MODEL = ["--model-args", "patch_size=8", "embed_dim=64", "depth=6", "num_heads=4"]
PRETRAIN = [
    "--method",
    "supervised",
    "--loss",
    "ce",
    "--resolution",
    "48",
    "--epochs",
    "8",
    "--augment.crop",
    "random-resized",
]
PRETRAIN += ["--augment.min-area", "0.3", "--data.test-split", "validation"]
TUNE = ["--source", "hub", "--data.train-images", "500", "--data.validation-images", "500", "--resolution", "32"]
TUNE += ["--epochs", "20", "--batch-size", "50", "--group-size", "50", "--augment.min-area", "0.3", "--head", "zero"]
RATES = ("3e-3", "1e-2")
SEEDS = ("0", "1", "2")


def train(out: Path, *words: str) -> dict:
    if main(["train", *words, "--out", str(out)]):
        raise SystemExit(1)
    return RunFolder(out).read_summary()


def tune(out: Path, weights: Path, start: str, method: str, data: Path, *more: str) -> dict:
    chosen = ["--method", method, "--data.path", str(data), *more]
    if start == "weights":
        return train(out, "finetune", "--weights", str(weights), *TUNE, *chosen)
    recipe = out.parent / f"weights-{method}-{RATES[0]}-0" / "recipe.json"
    return train(out, str(recipe), "--weights", "", "--optimizer.layer-decay", "1", *chosen)


def run(data: Path, out: Path) -> None:
    weights = out / "pretrained"
    before = train(weights, "cifar10", "--data.path", str(data / "tiny-imagenet-dev"), *MODEL, *PRETRAIN)
    found: dict = {"pretrained": before}
    for start in ("weights", "scratch"):
        for method in ("supervised", "cosub"):

            def one(rate: str, seed: str, start: str = start, method: str = method) -> dict:
                folder = out / f"{start}-{method}-{rate}-{seed}"
                return tune(folder, weights, start, method, data / "cifar10", "--lr", rate, "--seed", seed)

            first = {rate: one(rate, SEEDS[0]) for rate in RATES}
            rate = max(first, key=lambda rate: first[rate]["validation_top1"])
            found[f"{start}-{method}"] = {
                "lr": rate,
                "validation": {rate: summary["validation_top1"] for rate, summary in first.items()},
                "runs": [first[rate], *(one(rate, seed) for seed in SEEDS[1:])],
            }
    (out / "finetune.json").write_text(json.dumps(found, indent=2) + "\n")
    _print(found)


def _print(found: dict) -> None:
    print("| start | method | learning rate | top-1 | by seed | seconds |\n|---|---|---|---|---|---|")
    for name, arm in found.items():
        if name == "pretrained":
            continue
        tops = [summary["top1"] for summary in arm["runs"]]
        seconds = statistics.mean(summary["seconds"] for summary in arm["runs"])
        start, method = name.split("-")
        each = ", ".join(f"{top:.2%}" for top in tops)
        print(f"| {start} | {method} | {arm['lr']} | {statistics.mean(tops):.2%} | {each} | {seconds:.0f} |")


if __name__ == "__main__":
    given = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=False))
    if not {"--data", "--out"} <= given.keys():
        raise SystemExit("usage: python scripts/finetune.py --data PATH --out FOLDER")
    run(Path(given["--data"]), Path(given["--out"]))
