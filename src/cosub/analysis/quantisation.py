"""Appendix C.1: the number of kept rows is rounded, so the effective drop rate differs from the nominal one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cosub.analysis.subjects import Subject
from cosub.choices import BY_CHANCE, Rounding
from cosub.errors import InputError
from cosub.runs.drawing import looks, named, panels, save, shades
from cosub.submodel import count

# Rounding bernoulli is not here: on average it has the nominal rate. Appendix C can be read in two ways: its text
# floors "the actual batch size", the kept rows; its equation C.1 floors tau times the rows, the dropped ones.
_TITLES: dict[Rounding, str] = {
    "nearest": "nearest (section 4)",
    "floor": "rows kept floored (appendix C, text)",
    "ceil": "rows dropped floored (equation C.1)",
}


@dataclass(frozen=True)
class Rate:
    """The nominal drop rate (`asked`) and the effective one, the mean over layers of `rows` rows."""

    rounding: Rounding
    rows: int
    asked: float
    effective: float


@dataclass(frozen=True)
class Mark:
    """A run's nominal and effective drop rate, each the mean over its layers."""

    run: str
    rounding: Rounding
    rows: int
    asked: float
    effective: float


def quantisation(rows: Sequence[int], points: int = 100) -> list[Rate]:
    """Figure C.1 for each rounding and number of rows, over drop rates from 0 to below 1."""
    return [
        Rate(rounding, number, index / points, 1 - count(number, [index / points], rounding)[0] / number)
        for rounding in _TITLES
        for number in rows
        for index in range(points)
    ]


def mark(subject: Subject) -> Mark:
    """The drop rates of a run.

    Raises:
        InputError: if its rows were dropped by chance, so that no number of rows was rounded.
    """
    if subject.recipe.rounding in BY_CHANCE:
        raise InputError(
            f"runs: {subject.path}: drops each row by chance (rounding {subject.recipe.rounding}), so nothing is "
            "rounded; leave it out"
        )
    asked, effective = (sum(rates) / subject.num_layers for rates in (subject.asked_rates, subject.drop_rates))
    return Mark(subject.name, subject.recipe.rounding, subject.rows, asked, effective)


def draw(rates: Sequence[Rate], marks: Sequence[Mark], ways: Mapping[str, str], target: Path) -> None:
    """Draw a panel per rounding: effective against nominal rate, a line per number of rows, a marker per run.

    `ways` are those in which the runs were trained, by name.
    """
    figure, axes = panels(10, 4, "What rounding the number of kept rows makes of the drop rate", 1, 3, sharey=True)
    numbers = list(dict.fromkeys(rate.rows for rate in rates))
    for panel, (rounding, title) in zip(axes.flat, _TITLES.items(), strict=True):
        panel.plot([0, 1], [0, 1], color="gray", linewidth=0.8, label="nominal")
        for rows, style in zip(numbers, shades(len(numbers)), strict=True):
            curve = [rate for rate in rates if (rate.rounding, rate.rows) == (rounding, rows)]
            look = {**style, "marker": None, "drawstyle": "steps-mid"}
            panel.plot([rate.asked for rate in curve], [rate.effective for rate in curve], label=f"{rows} rows", **look)
        for item, style in zip(marks, looks([ways[mark.run] for mark in marks]), strict=True):
            if item.rounding == rounding:
                look = {**style, "linestyle": "none", "markerfacecolor": "none", "markersize": 9}
                panel.plot(
                    item.asked, item.effective, label=f"{named(item.run, ways[item.run])}, {item.rows} rows", **look
                )
        panel.set(xlabel="nominal drop rate", title=title)
    axes[0, 0].set(ylabel="effective drop rate")
    save(figure, target, "rows: images of a group times submodels of an image")
