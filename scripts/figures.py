"""Draw the figure of the README from three runs of scripts/equal_time.py.

python scripts/figures.py out/cifar docs/cifar10.png
"""

import sys
from pathlib import Path

from cosub.runs.drawing import new_figure, tidy
from cosub.runs.folder import RunFolder
from cosub.train.logs import read

RUNS = {
    "cosub": ("co-training", "tab:blue", "-"),
    "supervised-equal-epochs": ("supervised, equal epochs", "tab:orange", "--"),
    "supervised-equal-time": ("supervised, equal time", "tab:green", ":"),
}


def draw(folder: Path, target: Path) -> None:
    figure = new_figure(9, 3.4)
    curves, depths = figure.subplots(1, 2)
    for name, (label, color, line) in RUNS.items():
        summary = RunFolder(folder / name).read_summary()
        points = [(row["epoch"], row["top1"]) for row in read(folder / name) if "top1" in row]
        points.append((max(row["epoch"] for row in read(folder / name)), summary["top1"]))
        curves.plot([x for x, _ in points], [y for _, y in points], line, color=color, label=label, marker="o", ms=3)
        shares = {"1": summary["top1"], **summary["top1_submodels"]}
        depths.plot([float(s) for s in shares], list(shares.values()), line, color=color, label=label, marker="o", ms=4)
    curves.set(xlabel="epoch", ylabel="top-1 on test images", title="the full network")
    depths.set(xlabel="share of the blocks kept", title="submodels of the same network", xticks=[0.5, 0.75, 1.0])
    tidy([curves, depths])
    depths.legend(frameon=False, fontsize="small")
    figure.savefig(target, dpi=100)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit("usage: python scripts/figures.py FOLDER FILE.png")
    draw(Path(sys.argv[1]), Path(sys.argv[2]))
