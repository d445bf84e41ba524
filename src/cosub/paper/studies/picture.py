"""A study's picture: a method has its colour, and markers and lines differ besides."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from cosub.paper.studies.arms import ARMS
from cosub.paper.studies.grid import Study
from cosub.paper.studies.report import Row, what_of
from cosub.paper.studies.statistics import Estimate
from cosub.runs.drawing import logarithmic, looks, panels, save
from cosub.runs.ways import WAYS, Way, way_of

_WIDTH = 7.2  # inches
_TOP1 = "top-1 on test images, %"


def draw(study: Study, found: Sequence[Row], target: Path) -> bool:
    """Write a PNG of what was run: curves over epochs, accuracy along an axis, or a row for each cell.

    Bars are 95 % intervals. Nothing is written, and False given, where nothing was run.
    """
    shown = [row for row in found if row.test is not None]
    if not shown:
        return False
    height = 3.2 if study.axis or study.points > 2 else 1.0 + 0.28 * len(shown)
    figure, ((axes,),) = panels(_WIDTH, height, f"{study.title} ({study.cells[0].recipe.name})")
    note = intervals(len(row.lines) for row in shown)
    if study.points > 2:
        _curves(axes, shown)
        note = f"means over {_seeds([len(row.lines) for row in shown])}"
    elif study.axis:
        _along(axes, study, shown)
    else:
        _dots(axes, shown)
        note += "; hollow: a baseline" if any(row.cell.baseline for row in shown) else ""
    save(figure, target, note)
    return True


def intervals(numbers: Iterable[int]) -> str:
    """What bars are, and over how many seeds, for the number of seeds of each row."""
    numbers = sorted(numbers)
    if numbers[-1] == 1:
        return "one seed: no interval"
    bars = f"bars: 95 % intervals (Student's t) over {_seeds(numbers)}"
    return bars + ("; no bar: one seed" if numbers[0] == 1 else "")


def _seeds(numbers: Sequence[int]) -> str:
    least, most = min(numbers), max(numbers)
    return f"{least} seed{'s' * (least > 1)}" if least == most else f"{least} to {most} seeds"


def gains(rows: Sequence[Row], target: Path) -> None:
    """Write a PNG of what co-training adds to its baseline, a line for each comparison, in the order given.

    Bars are 95 % intervals of paired differences; a marker is filled where the interval leaves out zero.
    """
    figure, ((axes,),) = panels(_WIDTH, 1.0 + 0.22 * len(rows), "What co-training adds to supervised training")
    axes.axvline(0, color="black", linewidth=1)
    for place, row in enumerate(rows):
        differs = bool(row.difference and row.difference.differs)
        _bar(axes, place, row.difference, WAYS["cosub"], hollow=not differs)
    _name(axes, [f"{what_of(row)} ({len(row.lines)})" for row in rows])
    axes.set(xlabel="co-training minus supervised, top-1 on test images, points")
    note = "bars: 95 % intervals (Student's t) of differences at the same seed; in brackets: seeds"
    save(figure, target, f"{note}\nfilled: the interval leaves out zero")


def _bar(axes: Any, place: int, found: Estimate | None, way: Way, hollow: bool, label: str | None = None) -> None:
    mean, half = _percent(found)
    look = {"marker": "o", "color": way.colour, "markerfacecolor": "white" if hollow else way.colour, "capsize": 3}
    axes.errorbar([mean], [place], xerr=[half], label=label, **look)


def _name(axes: Any, names: Sequence[str]) -> None:
    """Give each row its name, the first on top."""
    axes.set_yticks(range(len(names)), names)
    axes.set(ylim=(len(names) - 0.4, -0.6))


def _along(axes: Any, study: Study, rows: Sequence[Row]) -> None:
    series = list(dict.fromkeys(row.cell.series for row in rows))
    groups = [sorted((r for r in rows if r.cell.series == name), key=lambda row: row.cell.x or 0.0) for name in series]
    ways = [way_of(group[0].cell.recipe) for group in groups]
    ticks = sorted({row.cell.x for row in rows if row.cell.x is not None})
    for index, (group, way, style) in enumerate(zip(groups, ways, looks(ways), strict=True)):
        aside = 0.012 * (index - (len(groups) - 1) / 2)  # so that the bars of two series do not hide each other
        axes.errorbar(
            [_moved(row.cell.x or 0.0, aside, ticks, study.log) for row in group],
            [_percent(row.test)[0] for row in group],
            yerr=[_percent(row.test)[1] for row in group],
            capsize=3,
            label=_title(group[0].cell.series, way),
            **style,
        )
    if study.log:
        logarithmic(axes, "x")
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set(xlabel=study.axis, ylabel=_TOP1)


def _title(series: str, way: str) -> str:
    """An arm's where it is one: it says more than the method."""
    return ARMS[series].title if series in ARMS else WAYS[way].title


def _moved(x: float, aside: float, ticks: Sequence[float], log: bool) -> float:
    """A place moved by a share of the axis."""
    return x * (ticks[-1] / ticks[0]) ** aside if log else x + aside * (ticks[-1] - ticks[0])


def _dots(axes: Any, rows: Sequence[Row]) -> None:
    baselines, named = {row.cell.baseline for row in rows}, set[str]()
    for place, row in enumerate(rows):
        way = way_of(row.cell.recipe)
        title = _title(row.cell.series, way)
        label = None if title in named else title
        _bar(axes, place, row.test, WAYS[way], row.cell.name in baselines, label)
        named.add(title)
    _name(axes, [row.cell.name for row in rows])
    axes.set(xlabel=_TOP1)


def _curves(axes: Any, rows: Sequence[Row]) -> None:
    for row, style in zip(rows, looks([way_of(row.cell.recipe) for row in rows]), strict=True):
        lines = list(row.lines.values())
        epochs = [point[0] for point in lines[0]["curve"]]
        for column, what, line in ((1, "trained on", ":"), (2, "held out", "-")):
            means = [100 * sum(one["curve"][i][column] for one in lines) / len(lines) for i in range(len(epochs))]
            face = style["color"] if column == 2 else "white"
            curve = {**style, "linestyle": line, "markerfacecolor": face}
            axes.plot(epochs, means, label=f"{row.cell.name}, images {what}", **curve)
    axes.set(xlabel="epoch", ylabel="top-1, %")


def _percent(estimate: Estimate | None) -> tuple[float, float]:
    return (100 * estimate.mean, 100 * (estimate.half or 0.0)) if estimate else (float("nan"), 0.0)
