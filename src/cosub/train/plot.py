"""Curves over epochs: training loss and accuracy on held-out images of runs, the learning rate of a recipe."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cosub.errors import InputError
from cosub.evaluation.metric import Metric, headline_metric
from cosub.recipes.files import read as read_recipe
from cosub.recipes.recipe import Recipe
from cosub.runs.drawing import new_figure, tidy
from cosub.runs.folder import RunFolder
from cosub.runs.names import caption
from cosub.train.logs import read
from cosub.train.optim import learning_rate, warmup_steps


def plot_runs(runs: Sequence[Path], target: Path, summary: dict[str, Any] | None = None) -> None:
    """Write a PNG with the curves of the runs. `summary` is that of a single run that has not written it yet.

    Raises:
        InputError: if a folder holds no metrics or no recipe.
    """
    figure = new_figure(9, 3.6)
    loss, accuracy = figure.subplots(1, 2)
    metrics: set[Metric] = set()
    for run in runs:
        lines = read(run)
        if not lines:
            raise InputError(f"run: {run}: has no metrics.jsonl to plot")
        steps = [line for line in lines if "loss" in line]
        (curve,) = loss.plot([line["epoch"] for line in steps], [line["loss"] for line in steps])
        folder = RunFolder(run)
        metric = headline_metric(read_recipe(folder.recipe).task.kind)
        points = [(line["epoch"], line[metric.key]) for line in lines if metric.key in line]
        points += _final(lines, summary or folder.read_summary(), metric.key)
        metrics.add(metric)
        accuracy.plot(
            [x for x, _ in points],
            [y for _, y in points],
            marker="o",
            markersize=3,
            color=curve.get_color(),
            label=caption(run.absolute().name),
        )
    loss.set(xlabel="epoch", ylabel="training loss", yscale="log")
    accuracy.set(
        xlabel="epoch",
        ylabel=" and ".join(sorted((metric.name for metric in metrics), key=str.lower)) + " on held-out images",
    )
    tidy([loss, accuracy])
    accuracy.legend(frameon=False, fontsize="small", loc="lower right")
    figure.savefig(target, dpi=110)


def plot_learning_rate(recipe: Recipe, steps_per_epoch: int, target: Path) -> None:
    """Write a PNG with the learning rate over the epochs of a recipe."""
    total = recipe.epochs * steps_per_epoch
    steps = sorted({*range(0, total, max(total // 1000, 1)), warmup_steps(recipe, steps_per_epoch), total - 1})
    figure = new_figure(5, 3.2)
    axes = figure.subplots()
    epochs = [step / steps_per_epoch for step in steps]
    axes.plot(epochs, [learning_rate(recipe, step, steps_per_epoch) for step in steps])
    axes.set(xlabel="epoch", ylabel="learning rate", ylim=(0, None))
    tidy([axes])
    figure.savefig(target, dpi=110)


def _final(lines: list[dict[str, float]], summary: dict[str, Any], metric: str) -> list[tuple[float, float]]:
    found = summary.get(metric)
    return [(max(line["epoch"] for line in lines), found)] if isinstance(found, int | float) else []
