"""The page of a comparison: the sentence, the table, the picture, and what must be known to read them."""

import shlex
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cosub.comparison.plan import LEARNING_RATES, RATES, SHORT
from cosub.comparison.request import THREE
from cosub.comparison.result import Comparison
from cosub.paper.studies.arms import ARMS, FIRST
from cosub.paper.studies.picture import intervals
from cosub.paper.studies.statistics import Estimate
from cosub.runs.drawing import looks, panels, save
from cosub.runs.folder import write_atomically
from cosub.runs.tables import align, markdown, number_of
from cosub.runs.ways import way_of

PAGE, PICTURE = "comparison.md", "comparison.png"


def write(found: Comparison, out: Path) -> None:
    """Write comparison.md and, where runs can be compared, comparison.png."""
    drawn = any(arm.row.test for arm in found.arms)
    if drawn:
        draw(found, out / PICTURE)
    write_atomically(out / PAGE, page(found, drawn))


def page(found: Comparison, drawn: bool) -> str:
    """Markdown."""
    head, *lines = cells(found)
    parts = [f"# Is co-training worth it on {Path(found.plan.recipe.data.path).name}?", f"**{found.verdict}**"]  # pyright: ignore[reportAttributeAccessIssue]
    parts += [
        *(["\n".join(markdown(head, lines))] if found.arms else []),
        *([f"![Accuracy, and differences to masking]({PICTURE})"] if drawn else []),
    ]
    return "\n\n".join([*parts, "\n".join(f"- {note}" for note in notes(found))]) + "\n"


def table(found: Comparison) -> list[str]:
    """For a terminal; no line before there is an arm."""
    lines = cells(found) if found.arms else []
    return align(lines, "<" + ">" * len(found.arms))


def cells(found: Comparison) -> list[list[str]]:
    """A column for each arm; what was not run is blank."""
    arms, rows = found.arms, [arm.row for arm in found.arms]
    recipes = [row.cell.recipe for row in rows]
    lines = [
        ["", *(row.cell.name for row in rows)],
        ["seeds", *(str(len(row.lines)) for row in rows)],
        ["drop rate", *(f"{recipe.drop_rate:g}" for recipe in recipes)],
        ["learning rate", *(f"{recipe.lr:g}" for recipe in recipes)],
        ["epochs", *(str(recipe.epochs) for recipe in recipes)],
        ["milliseconds per step", *(f"{1000 * arm.step_seconds:.0f}" for arm in arms)],
        ["seconds of training", *(f"{row.seconds.mean:.0f}" if row.seconds else "" for row in rows)],
        ["validation", *(_percent(row.validation) for row in rows)],
        ["test", *(_percent(row.test) for row in rows)],
        [f"above {FIRST}", *(_percent(row.difference, "+") for row in rows)],
        ["half of the blocks", *(_percent(arm.half) for arm in arms)],
        [f"above {FIRST}", *(_percent(arm.half_difference, "+") for arm in arms)],
    ]
    return [line for line in lines if line[0] != "test" or found.plan.test_images]


def _percent(value: Estimate | None, sign: str = "") -> str:
    return value.percent(sign) if value else ""


def notes(found: Comparison) -> list[str]:
    """What must be known to read the table."""
    plan = found.plan
    grid = f"rates {_all(RATES)}, learning rates {_all(plan.recipe.lr * factor for factor in LEARNING_RATES)}"
    lines = [
        "Top-1 in percent: the mean over seeds, ± half of its 95 % interval (Student's t). Differences are between "
        "runs of the same seed. An arm is called ahead or behind where the whole interval is more than one image "
        f"({100 / plan.images:.2f} points) away from zero. Other images would differ besides.",
        f"Each run was planned for {plan.seconds:.0f} s of training: epochs follow from the time of a step, measured "
        "in turns before the first run. seconds of training is what it took.",
        f"Rate and learning rate ({grid}) were chosen for each arm on {plan.validation_images:,} validation images, in "
        f"runs of {SHORT:g} times the length from a seed that is not used again.",
    ]
    if plan.test_images:
        lines.append(f"The {plan.test_images:,} test images are not used for any choice.")
    else:
        lines.append(
            "There are no test images: validation numbers are optimistic, for all arms, since the same images chose "
            "rate and learning rate. A folder test beside train and val is evaluated once."
        )
    if found.left:
        lines.append(f"The time was over with {number_of(found.left, 'run')} left; the same command goes on.")
    made = {(line["commit"], line["device"]) for arm in found.arms for line in arm.row.lines.values()}
    by = "; ".join(f"commit {commit}, {device}" for commit, device in sorted(made))
    return [*lines, f"`{command(plan.asked)}`" + (f" ({by})" if by else "")]


def command(asked: Mapping[str, Any]) -> str:
    """What was asked, as it may be asked again; the folder of the result aside."""
    words = ["cosub", "compare", asked["folder"]]
    for name in ("minutes", "seeds", "model", "weights", "resolution"):
        if value := asked[name]:
            words += [f"--{name}", f"{value:g}" if isinstance(value, float) else str(value)]
    return shlex.join([*words, *(["--arms", *asked["arms"]] if tuple(asked["arms"]) != THREE else [])])


def _all(values: Any) -> str:
    return " and ".join(f"{value:g}" for value in values)


def draw(found: Comparison, target: Path) -> None:
    """Write a PNG: accuracy of each arm, full network and half of its blocks, and the differences to masking."""
    arms = found.arms
    title = f"{Path(found.plan.recipe.data.path).name}: ways to train, each for {found.plan.seconds:.0f} s"  # pyright: ignore[reportAttributeAccessIssue]
    figure, ((left, right),) = panels(9, 1.0 + 0.6 * len(arms), title, columns=2, sharey=True)
    for place, (arm, style) in enumerate(zip(arms, looks([way_of(arm.row.cell.recipe) for arm in arms]), strict=True)):
        seeds = [100 * line["top1"] for line in arm.row.lines.values()]
        left.plot(seeds, [place - 2 * _SHIFT] * len(seeds), ".", color=style["color"], markersize=4)
        _points(left, place, arm.row.test, arm.half, style)
        _points(right, place, arm.row.difference, arm.half_difference, style)
    right.axvline(0, color="black", linewidth=1)
    right.locator_params(axis="x", nbins=6)
    left.set_yticks(range(len(arms)), [textwrap.fill(arm.title, 26) for arm in arms])
    images = "test" if found.plan.test_images else "validation"
    left.set(ylim=(len(arms) - 0.4, -0.6), xlabel=f"top-1 on {images} images, %")
    right.set(xlabel=f"points above {ARMS[FIRST].title}")
    for what, mark in {"full network": _FULL, "half of its blocks": _HALF, "a seed": {"marker": "."}}.items():
        left.plot([], [], color="black", linestyle="none", label=what, **mark)
    save(figure, target, f"{intervals(len(arm.row.lines) for arm in arms)}; right: of differences at the same seed")


_SHIFT = 0.14
_FULL, _HALF = {"marker": "o"}, {"marker": "s", "markerfacecolor": "white"}


def _points(axes: Any, place: int, full: Estimate | None, half: Estimate | None, style: Mapping[str, Any]) -> None:
    """Means with their intervals; the full network's lies a little higher."""
    for value, shift, mark in ((full, -_SHIFT, _FULL), (half, _SHIFT, _HALF)):
        if value:
            bar = {"xerr": 100 * (value.half or 0.0), "capsize": 3, "color": style["color"], **mark}
            axes.errorbar([100 * value.mean], [place + shift], linestyle="none", **bar)
