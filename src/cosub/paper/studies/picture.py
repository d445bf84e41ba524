"""A study's picture, legible in black and white: markers and lines differ, not colours alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cosub.paper.studies.grid import Study
from cosub.paper.studies.report import Row, what_of
from cosub.runs.drawing import new_figure, tidy

_STYLES = [("o", "-", "black", "black"), ("s", "--", "tab:blue", "white"), ("^", ":", "tab:gray", "tab:gray")]


def draw(study: Study, found: Sequence[Row], target: Path) -> bool:
    """Write a PNG of what was run: curves over epochs, accuracy along an axis, or a row a cell.

    Bars are 95 % intervals. Nothing is written, and False given, where nothing was run.
    """
    shown = [row for row in found if row.test is not None]
    if not shown:
        return False
    height = 3.2 if study.axis or study.points > 2 else 1.0 + 0.26 * len(shown)
    figure = new_figure(6.4, height)
    axes = figure.subplots()
    if study.points > 2:
        _curves(axes, shown)
    elif study.axis:
        _along(axes, study, shown)
    else:
        _dots(axes, shown)
    tidy([axes])
    figure.savefig(target, dpi=100, metadata={"Software": None})
    return True


def gains(rows: Sequence[Row], target: Path) -> None:
    """Write a PNG of what co-training adds to its baseline, a line a comparison, in the order given.

    Bars are 95 % intervals of paired differences; a marker is filled where the interval leaves out zero.
    """
    figure = new_figure(6.4, 1.0 + 0.22 * len(rows))
    axes = figure.subplots()
    axes.axvline(0, color="tab:gray", linewidth=1)
    for place, row in enumerate(rows):
        mean, half = _percent(row.difference)
        face = "black" if row.difference and row.difference.differs else "white"
        axes.errorbar([mean], [place], xerr=[half], marker="o", color="black", markerfacecolor=face, capsize=3)
    axes.set_yticks(range(len(rows)), [f"{what_of(row)} ({len(row.lines)})" for row in rows])
    axes.invert_yaxis()
    axes.set(xlabel="cosub minus supervised, points (in brackets: seeds)")
    tidy([axes])
    figure.savefig(target, dpi=100, metadata={"Software": None})


def _along(axes: Any, study: Study, rows: Sequence[Row]) -> None:
    for series, (marker, line, color, face) in zip(
        dict.fromkeys(row.cell.series for row in rows), _STYLES, strict=False
    ):
        own = sorted((row for row in rows if row.cell.series == series), key=lambda row: row.cell.x or 0.0)
        axes.errorbar(
            [row.cell.x for row in own],
            [_percent(row.test)[0] for row in own],
            yerr=[_percent(row.test)[1] for row in own],
            marker=marker,
            linestyle=line,
            color=color,
            markerfacecolor=face,
            capsize=3,
            label=series or None,
        )
    axes.set(xlabel=study.axis, ylabel="top-1 on test images, %")
    if study.log:
        axes.set_xscale("log")
        ticks = sorted({row.cell.x for row in rows if row.cell.x is not None})
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks], minor=False)
        axes.minorticks_off()
    if len({row.cell.series for row in rows}) > 1:
        axes.legend(frameon=False, fontsize="small")


def _dots(axes: Any, rows: Sequence[Row]) -> None:
    baselines = {row.cell.baseline for row in rows}
    for place, row in enumerate(rows):
        mean, half = _percent(row.test)
        face = "white" if row.cell.name in baselines else "black"
        axes.errorbar([mean], [place], xerr=[half], marker="o", color="black", markerfacecolor=face, capsize=3)
    axes.set_yticks(range(len(rows)), [row.cell.name for row in rows])
    axes.invert_yaxis()
    axes.set(xlabel="top-1 on test images, % (white: baseline)")


def _curves(axes: Any, rows: Sequence[Row]) -> None:
    for row, (marker, _, color, face) in zip(rows, _STYLES, strict=False):
        lines = list(row.lines.values())
        epochs = [point[0] for point in lines[0]["curve"]]
        for column, what, style in ((1, "trained on", ":"), (2, "held out", "-")):
            means = [100 * sum(line["curve"][i][column] for line in lines) / len(lines) for i in range(len(epochs))]
            axes.plot(
                epochs,
                means,
                style,
                marker=marker,
                color=color,
                markerfacecolor=face,
                ms=4,
                label=f"{row.cell.name}, images {what}",
            )
    axes.set(xlabel="epoch", ylabel="top-1, %")
    axes.legend(frameon=False, fontsize="small")


def _percent(estimate: Any) -> tuple[float, float]:
    return 100 * estimate.mean, 100 * (estimate.half or 0.0)
