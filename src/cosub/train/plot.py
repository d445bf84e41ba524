"""Curves over epochs: training loss and accuracy on held-out images of runs, the learning rate of a recipe."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosub.errors import InputError
from cosub.evaluation.metric import Metric, headline_metric
from cosub.recipes.files import read as read_recipe
from cosub.recipes.recipe import Recipe
from cosub.runs.drawing import logarithmic, look, looks, named, panels, save
from cosub.runs.folder import RunFolder
from cosub.runs.ways import way_of
from cosub.train.logs import read
from cosub.train.optim import learning_rate, warmup_steps


@dataclass(frozen=True)
class Course:
    """What a run's folder says of its epochs."""

    name: str
    recipe: Recipe
    metric: Metric
    losses: list[tuple[float, float]]
    """Epoch, training loss."""
    points: list[tuple[float, float]]
    """Epoch, and the metric of the latest network on held-out images, in percent."""
    chosen: list[tuple[float, float]]
    """The point whose network the run keeps, where it chose one."""


def read_course(run: Path, summary: dict[str, Any] | None = None) -> Course:
    """Read a run's folder. `summary` is that of a run that has not written it yet.

    The last point is in the summary, unless the run chose an epoch: its figures are then that epoch's.

    Raises:
        InputError: if the folder holds no metrics, no recipe or no summary.
    """
    lines, folder = read(run), RunFolder(run)
    if not lines:
        raise InputError(f"run: {run}: has no metrics.jsonl to plot")
    recipe, summary = read_recipe(folder.recipe), summary or folder.read_summary()
    metric = headline_metric(recipe.task.kind)
    points = [(line["epoch"], 100 * line[metric.key]) for line in lines if metric.key in line]
    last = summary.get(f"validation_{metric.key}", summary.get(metric.key))
    if recipe.choose == "last" and last is not None:
        points.append((max(line["epoch"] for line in lines), 100 * last))
    losses = [(line["epoch"], line["loss"]) for line in lines if "loss" in line]
    chosen = [point for point in points if point[0] == summary.get("chosen_epoch")]
    return Course(run.absolute().name, recipe, metric, losses, points, chosen)


def plot_runs(runs: Sequence[Path], target: Path, summary: dict[str, Any] | None = None) -> None:
    """Write a PNG with the curves of the runs. `summary` is that of a single run that has not written it yet.

    Raises:
        InputError: if a folder holds no metrics, no recipe or no summary.
    """
    courses = [read_course(run, summary) for run in runs]
    metrics = " and ".join(sorted({course.metric.name for course in courses}, key=str.lower))
    figure, ((loss, accuracy),) = panels(9, 3.4, f"Training loss, and {metrics} on held-out images", columns=2)
    ways = [way_of(course.recipe) for course in courses]
    for course, way, style in zip(courses, ways, looks(ways), strict=True):
        loss.plot(*_columns(course.losses), **{**style, "marker": None})
        accuracy.plot(*_columns(course.points), label=named(course.name, way), **style)
        star = {**style, "marker": "*", "linestyle": "none", "markersize": 15, "markeredgecolor": "white", "zorder": 3}
        accuracy.plot(*_columns(course.chosen), **star)
    logarithmic(loss, "y")
    loss.set(xlabel="epoch", ylabel="training loss")
    accuracy.set(xlabel="epoch", ylabel=f"{metrics}, %")
    save(figure, target, "\n".join(_notes(courses)))


def _columns(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def _notes(courses: Sequence[Course]) -> list[str]:
    seeds = sorted({course.recipe.seed for course in courses})
    told = [f"a curve is one run, of seed {' or '.join(map(str, seeds))}: one run has no error bars"]
    if any(course.chosen for course in courses):
        told.append("star: the epoch whose network the run keeps")
    if len({repr((course.recipe.method, course.recipe.augment)) for course in courses}) > 1:
        told.append("methods or augmentations differ, and with them the targets: losses are not comparable")
    return told


def plot_learning_rate(recipe: Recipe, steps_per_epoch: int, target: Path) -> None:
    """Write a PNG with the learning rate over the epochs of a recipe."""
    total = recipe.epochs * steps_per_epoch
    steps = sorted({*range(0, total, max(total // 1000, 1)), warmup_steps(recipe, steps_per_epoch), total - 1})
    figure, ((axes,),) = panels(5, 3.2, f"Learning rate of {recipe.name}")
    epochs = [step / steps_per_epoch for step in steps]
    rates = [learning_rate(recipe, step, steps_per_epoch) for step in steps]
    axes.plot(epochs, rates, **{**look(0), "marker": None})
    axes.set(xlabel="epoch", ylabel="learning rate", ylim=(0, None))
    save(figure, target)
