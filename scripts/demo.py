"""What `make demo` runs: the digits, co-trained and supervised for the same time, their submodels, slimmed networks.

    python scripts/demo.py

Trains both networks, removes layers of both, and draws all of it into out/demo/comparison.png. The same command
continues what was interrupted. One seed and few images: it shows what there is, not which method is better.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from equal_time import TIMED, epochs_at_equal_time, summary_of, table, train

from cosub.cli import main
from cosub.runs import cpu
from cosub.runs.drawing import looks, panels, save

OUT = Path("out/demo")
KEEP = 10  # residual layers of the slimmed networks
SUBMODELS = 8  # at random, of each depth
WAYS_OF_RUNS = ("cosub", "supervised")


def demo(words: Sequence[str], out: Path, keep: int = KEEP, submodels: int = SUBMODELS, timed: float = TIMED) -> None:
    runs = {"co-training": out / "cosub", "supervised": out / "supervised-equal-time"}
    epochs = epochs_at_equal_time([*words], runs["supervised"], timed)
    cosub = train([*words], runs["co-training"], "--method", "cosub")
    other = train([*words], runs["supervised"], "--method", "supervised", "--epochs", str(epochs))
    slimmed = {name: slim(run, keep) for name, run in runs.items()}
    draw(runs, slimmed, submodels, out / "comparison.png")
    print(table({"cosub": cosub, "supervised, equal time": other}))
    for name, about in slimmed.items():
        print(f"{name}, {facts(about)}")
    print(f"One seed, {cosub['num_images']} test images, of which one is {100 / cosub['num_images']:.2f} points: "
          f"a point or two is chance. Picture: {out / 'comparison.png'}")  # fmt: skip


def slim(run: Path, keep: int) -> dict[str, Any]:
    target = run.with_name(f"{run.name}-slim")
    if status := main(
        ["slim", str(run), "--unit", "layer", "--keep", str(keep), "--images", "500", "--out", str(target)]
    ):
        raise SystemExit(status)
    return summary_of(target)


def facts(about: dict[str, Any]) -> str:
    found = about["slim"]
    return (
        f"{found['layers']} of {found['layers_full']} layers: top-1 {about['top1']:.2%} (all: {found['top1_full']:.2%})"
    )


def draw(runs: dict[str, Path], slimmed: dict[str, dict[str, Any]], submodels: int, target: Path) -> None:
    """Accuracy against the time, the same for both, and against layers kept: random submodels, slimmed networks."""
    figure, ((curves, depths),) = panels(9, 3.5, "Digits: two networks trained for the same time", columns=2)
    sizes = (22, 11)  # so that equal stars are both seen
    for (name, run), style, size in zip(runs.items(), looks(WAYS_OF_RUNS), sizes, strict=True):
        curves.plot(*curve(run), label=f"{name}: full network; random submodels, mean and range", **style)
        kept, means, low, high = population(run, submodels)
        depths.plot(kept, means, **style)
        depths.fill_between(kept, low, high, color=style["color"], alpha=0.12, linewidth=0)
        about = slimmed[name]
        star = {**style, "marker": "*", "linestyle": "none", "markersize": size, "markeredgecolor": "white"}
        depths.plot([about["slim"]["layers"]], [100 * about["top1"]], label=f"{name}: slimmed", zorder=3, **star)
    images = next(iter(slimmed.values()))["num_images"]
    curves.set(xlabel="share of the time, %", ylabel="top-1 on test images, %", title="The full network")
    depths.set(xlabel="residual layers kept", title="With fewer layers")
    depths.xaxis.get_major_locator().set_params(integer=True)
    save(figure, target, f"one seed, {images} test images (one is {100 / images:.2f} points): a point or two is chance")


def curve(run: Path) -> tuple[list[float], list[float]]:
    """Percent of the time, and top-1 in percent."""
    from cosub.train.plot import read_course

    points = read_course(run).points
    return [100 * epoch / points[-1][0] for epoch, _ in points], [top1 for _, top1 in points]


def population(run: Path, number: int) -> tuple[list[int], list[float], list[float], list[float]]:
    """Layers kept, and mean, least and best top-1 in percent of random submodels that keep so many."""
    from cosub.analysis.population import choose_depths, draw_layers
    from cosub.attachment import layers_per_block
    from cosub.evaluation.images import images_of_run, load_into_memory
    from cosub.evaluation.submodels import Kept, evaluate_submodels
    from cosub.runs.folder import load_run

    trained = load_run(run)
    recipe, layers = trained.recipe, sum(layers_per_block(trained.network))
    images = load_into_memory(images_of_run(recipe.data, trained.classes), recipe.resolution, recipe.inputs)
    found: dict[int, list[float]] = {}
    for depth in choose_depths(layers):
        chosen = [Kept(names) for names in draw_layers(layers, depth, number, seed=0)]
        found[depth] = (100 * evaluate_submodels(trained.network, images, chosen)[0]).tolist()
    means = [sum(values) / len(values) for values in found.values()]
    return list(found), means, [min(values) for values in found.values()], [max(values) for values in found.values()]


if __name__ == "__main__":
    cpu.settle()  # before torch is imported
    demo(["digits"], OUT)
    raise SystemExit(main(["evaluate", str(OUT / "cosub"), "--show", "24"]))
