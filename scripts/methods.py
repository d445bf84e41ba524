"""All methods of figure 2 and table 4 on few images of CIFAR-10, for the same number of epochs.

    python scripts/methods.py --data.path PATH --out out/methods      # about 20 minutes on one core

Takes the first 500 training images of CIFAR-10 and 2,000 test images (the Hub's layout; its rows are shuffled), so
that the supervised network fits its training images. The teacher is the same network from another seed. Writes
methods.json to the folder and prints a table. The same command continues after an interruption.
"""

import json
import sys
from pathlib import Path

from cosub.cli import main
from cosub.recipes.methods import METHODS
from cosub.runs.folder import RunFolder

SETTINGS = [
    "--model-args",
    "patch_size=8",
    "--epochs",
    "150",
    "--batch-size",
    "50",
    "--group-size",
    "50",
    "--drop-rate",
    "0.1",
]
SETTINGS += ["--augment.crop", "center", "--augment.flip", "0.5"]
TRAIN, TEST = 500, 2000


def subset(source: Path, target: Path) -> None:
    """The first rows of each split, as Parquet files."""
    from pyarrow import parquet

    target.mkdir(parents=True, exist_ok=True)
    for split, rows in (("train", TRAIN), ("test", TEST)):
        table = parquet.read_table(sorted(source.glob(f"{split}-*.parquet"))[0])
        parquet.write_table(table.slice(0, rows), target / f"{split}-00000-of-00001.parquet")


def train(data: Path, out: Path, *more: str) -> dict:
    if main(["train", "cifar10", "--data.path", str(data), *SETTINGS, "--out", str(out), *more]):
        raise SystemExit(1)
    last = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines() if "loss" in line]
    return {**RunFolder(out).read_summary(), "train_accuracy": last[-1]["accuracy"]}


def run(source: Path, out: Path) -> None:
    data, teacher = out / "data", out / "teacher"
    if not data.exists():
        subset(source, data)
    train(data, teacher, "--method", "supervised", "--seed", "1")
    results = {}
    for method in METHODS:
        given = ["--teacher", str(teacher)] if "distill" in method else []
        # Soft targets: a teacher that fits the training set predicts its labels, so hard distillation from it is
        # bit-identical to supervised training.
        given += {"distill": ["--loss", "bce-soft"], "cosub-distill": ["--teacher-answer", "soft"]}.get(method, [])
        # Of 1,500 steps; the default, 0.999, averages over most of them.
        given += ["--momentum", "0.99"] if method == "mean-teacher" else []
        results[method] = train(data, out / method, "--method", method, *given)
    (out / "methods.json").write_text(json.dumps(results, indent=2) + "\n")
    print(
        "| method | top-1 | with half of the blocks | training accuracy, last steps | seconds |\n|---|---|---|---|---|"
    )
    for method, found in results.items():
        half = found["top1_submodels"]["0.5"]
        print(
            f"| {method} | {found['top1']:.2%} | {half:.2%} | {found['train_accuracy']:.1%} | {found['seconds']:.0f} |"
        )


if __name__ == "__main__":
    words = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=False))
    if not {"--data.path", "--out"} <= words.keys():
        raise SystemExit("usage: python scripts/methods.py --data.path PATH --out FOLDER")
    run(Path(words["--data.path"]), Path(words["--out"]))
