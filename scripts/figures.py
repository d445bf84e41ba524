"""Draw the figure of docs/index.md from three runs of scripts/equal_time.py.

python scripts/figures.py out/cifar docs/cifar10.png
"""

import sys
from pathlib import Path

from cosub.runs.drawing import looks, panels, save
from cosub.runs.folder import RunFolder
from cosub.train.plot import read_course

RUNS = {
    "cosub": ("cosub", "co-training"),
    "supervised-equal-epochs": ("supervised", "supervised, equal epochs"),
    "supervised-equal-time": ("supervised", "supervised, equal time"),
}


def draw(folder: Path, target: Path) -> None:
    title = "CIFAR-10, a ViT of 6 blocks: the full network and its submodels"
    figure, ((curves, depths),) = panels(9, 3.3, title, columns=2)
    styles = looks([way for way, _ in RUNS.values()])
    for (name, (_, label)), style in zip(RUNS.items(), styles, strict=True):
        epochs, values = zip(*read_course(folder / name).points, strict=True)
        curves.plot(epochs, values, label=label, **style)
        summary = RunFolder(folder / name).read_summary()
        shares = {"1": summary["top1"], **summary["top1_submodels"]}
        depths.plot([100 * float(share) for share in shares], [100 * top1 for top1 in shares.values()], **style)
    curves.set(xlabel="epoch", ylabel="top-1 on test images, %", title="the full network")
    depths.set(xlabel="blocks kept, %", title="submodels of the same network", xticks=[50, 75, 100])
    save(figure, target, "a curve is one run: one seed, no error bars")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit("usage: python scripts/figures.py FOLDER FILE.png")
    draw(Path(sys.argv[1]), Path(sys.argv[2]))
