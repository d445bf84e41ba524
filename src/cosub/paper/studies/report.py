"""What came out of a study: a table, a fragment of Markdown, a picture."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cosub.paper.studies.grid import Cell, Run, Study
from cosub.paper.studies.ledger import Ledger, Line
from cosub.paper.studies.statistics import Estimate, estimate, paired
from cosub.recipes import get
from cosub.recipes.files import identity, overrides
from cosub.runs import tables

FITTED = 0.99
"""Accuracy on the images trained on that a baseline must have in the middle of its schedule: there it can over-fit."""


@dataclass(frozen=True)
class Row:
    """One cell with what its seeds gave; what was not run is None."""

    cell: Cell
    lines: Mapping[int, Line]
    """By seed."""
    validation: Estimate | None
    test: Estimate | None
    difference: Estimate | None
    """To the cell's baseline on test images, seed by seed."""
    at_equal_time: Estimate | None
    """The same, to the cell that takes as long."""
    fitted: Estimate | None
    """Accuracy on the images trained on, in the middle of the schedule."""
    seconds: Estimate | None


def rows(study: Study, ledger: Ledger, seeds: int) -> list[Row]:
    lines = {cell.name: _lines(study, cell, ledger, seeds) for cell in study.cells}
    return [_row(cell, lines) for cell in study.cells if cell.shown]


def _lines(study: Study, cell: Cell, ledger: Ledger, seeds: int) -> dict[int, Line]:
    found = {seed: ledger.find(Run(study, cell, seed)) for seed in study.range_of(seeds)}
    return {seed: line for seed, line in found.items() if line is not None}


def _row(cell: Cell, lines: Mapping[str, Mapping[int, Line]]) -> Row:
    own = lines[cell.name]
    test = _column(own, "top1")
    baseline, equal_time = (_column(lines.get(name, {}), "top1") for name in (cell.baseline, cell.equal_time))
    return Row(
        cell,
        own,
        estimate(list(_column(own, "validation_top1").values())),
        estimate(list(test.values())),
        paired(test, baseline),
        paired(test, equal_time),
        estimate([_middle(line) for line in own.values()]),
        estimate(list(_column(own, "seconds").values())),
    )


def _column(lines: Mapping[int, Line], key: str) -> dict[int, float]:
    return {seed: line[key] for seed, line in lines.items() if line[key] is not None}


def _middle(line: Line) -> float:
    """Accuracy on the images trained on at the last evaluation in the first half."""
    last = line["curve"][-1][0]
    early = [point for point in line["curve"] if point[0] <= last / 2] or line["curve"][:1]
    return early[-1][1]


def chosen(found: list[Row]) -> Row | None:
    """The row that is best on validation images, over the seeds that all rows have that were run."""
    columns = {row.cell.name: _column(row.lines, "validation_top1") for row in found if row.validation is not None}
    common = set.intersection(*map(set, columns.values())) if columns else set()
    if not common:
        return None
    best = max(columns, key=lambda name: sum(columns[name][seed] for seed in common))
    return next(row for row in found if row.cell.name == best)


def remarks(study: Study, found: list[Row]) -> list[str]:
    """What must be known to read the table."""
    messages = []
    baselines = {row.cell.baseline for row in found if row.cell.baseline}
    for row in found:
        if row.cell.name in baselines and row.fitted is not None and row.fitted.mean < FITTED:
            messages.append(
                f"The baseline under-fits: {row.cell.name} has {100 * row.fitted.mean:.1f} % training accuracy in the "
                f"middle of its schedule, and {100 * FITTED:.0f} % is where over-fitting can begin."
            )
    messages += [_at_equal_time(row, found) for row in found if row.at_equal_time is not None]
    best = chosen(found) if study.choose else None
    if best is not None:
        messages.append(f"Chosen on validation images: {best.cell.name}.")
    return messages


def _at_equal_time(row: Row, found: list[Row]) -> str:
    other = next(other for other in found if other.cell.name == row.cell.equal_time)
    seconds = [f"{one.cell.name} ({one.seconds.mean:.0f} s)" for one in (row, other) if one.seconds]
    difference = row.at_equal_time.percent("+") if row.at_equal_time else ""
    return f"At equal time or less: {' against '.join(seconds)}, test: {difference}."


def compared(sections: Iterable[Sequence[Row]]) -> list[Row]:
    """The co-trained rows of all studies that have an interval of their difference to supervised training, the largest
    difference first. What several studies have, under whichever name, is there once, with most seeds."""
    rows = [
        row
        for found in sections
        for row in found
        if row.cell.series == "cosub"
        and row.cell.baseline.endswith("supervised")
        and row.difference is not None
        and row.difference.half is not None
    ]
    once = {
        identity(dataclasses.replace(row.cell.recipe, name="any")): row
        for row in sorted(rows, key=lambda row: len(row.lines))
    }
    return sorted(once.values(), key=lambda row: -_gain(row).mean)


def _gain(row: Row) -> Estimate:
    assert row.difference is not None
    return row.difference


def what_of(row: Row) -> str:
    """The recipe, and what the cell changes in it."""
    return ", ".join([row.cell.recipe.name, *row.cell.name.split(", ")[:-1]])


def where(rows: Sequence[Row], picture: str) -> str:
    """The section that lays all comparisons of co-training with supervised training beneath one another."""
    ahead = [row for row in rows if _gain(row).differs and _gain(row).mean > 0]
    behind = [row for row in rows if _gain(row).differs and _gain(row).mean < 0]
    messages = [
        f"All studies' comparisons at equal epochs. Of {len(rows)}, the difference is above zero in "
        f"{sum(_gain(row).mean > 0 for row in rows)}; its interval lies above zero in {len(ahead)}, below in "
        f"{len(behind)} (by chance: one in forty each). A filled marker is such an interval.",
        *(f"Above: {_gains(ahead)}." for _ in ahead[:1]),
        *(f"Below: {_gains(behind)}." for _ in behind[:1]),
    ]
    parts = ["## Where co-training begins to help", " ".join(messages), f"![What co-training adds]({picture})"]
    return "\n\n".join(parts) + "\n"


def _gains(rows: Sequence[Row]) -> str:
    return "; ".join(f"{what_of(row)} {_gain(row).percent('+')}" for row in rows)


HEADERS = ("", "seeds", "validation", "test", "test, to baseline", "training, middle", "seconds")


def cells_of(row: Row) -> tuple[str, ...]:
    """A row of the table; what was not run is blank."""
    return (
        row.cell.name,
        str(len(row.lines) or ""),
        row.validation.percent() if row.validation else "",
        row.test.percent() if row.test else "",
        row.difference.percent("+") if row.difference else "",
        f"{100 * row.fitted.mean:.1f}" if row.fitted else "",
        f"{row.seconds.mean:.0f}" if row.seconds else "",
    )


def table(found: list[Row]) -> str:
    """For a terminal: aligned."""
    return "\n".join(tables.align([HEADERS, *map(cells_of, found)], "<>>>>>>"))


def markdown(study: Study, found: list[Row], picture: str = "") -> str:
    """The study's section of docs/studies.md."""
    recipe = study.cells[0].recipe.name
    parts = [f"## {study.title} (`{study.name}`, {recipe})"]
    if study.paper:
        parts.append(f"The paper: {study.paper}.")
    parts.append("\n".join(tables.markdown(HEADERS, map(cells_of, found))))
    parts += remarks(study, found)
    if picture:
        parts.append(f"![{study.title}]({picture})")
    made = {(line["commit"], line["device"]) for row in found for line in row.lines.values()}
    facts = "; ".join(f"commit {commit}, {device}" for commit, device in sorted(made))
    parts.append(
        f"    cosub study {study.name} --recipe {recipe} --seeds {seeds_of(study, found)}    # {facts or 'not run'}"
    )
    commands = [f"    {command(cell)}" for cell in sorted(study.cells, key=lambda cell: cell.shown)]
    parts.append("One row, for a seed S:\n\n" + "\n".join(commands))
    return "\n\n".join(parts) + "\n"


def seeds_of(study: Study, found: list[Row]) -> int:
    return max((seed + 1 - study.first_seed for row in found for seed in row.lines), default=1)


def command(cell: Cell) -> str:
    """The command that trains a cell by itself."""
    recipe, base = cell.recipe, get(cell.recipe.name)
    words = ["cosub train", recipe.name]
    for field, flag in (("method", "--method"), ("data", "--source")):
        part = getattr(recipe, field)
        if part.kind != getattr(base, field).kind:
            words.append(f"{flag} {part.kind}")
            base = dataclasses.replace(base, **{field: type(part)()})
    if recipe.model != base.model:
        words.append(f"--model {recipe.model}")
        base = dataclasses.replace(base, model=recipe.model, model_args={})
    values = overrides(recipe, base)
    arguments = {key: values.pop(key) for key in list(values) if key.startswith("model_args.")}
    if arguments:
        pairs = (f"{key.removeprefix('model_args.')}={_shown(value)}" for key, value in arguments.items())
        words.append(f"--model-args {' '.join(pairs)}")
    words += [f"--{_flag(key)} {_shown(value)}" for key, value in values.items()]
    words += [f"--{_flag(field)} RUN" for field in cell.uses]
    words += ["--data.path PATH"] if not recipe.data.EMBEDDED else []
    about = "".join(f", RUN: the folder of {name}" for name in cell.uses.values())
    return " ".join([*words, "--seed S --data.subset-seed S", f"   # {cell.name}{about}"])


def _flag(field: str) -> str:
    return field.removeprefix("method.").replace("_", "-")


def _shown(value: Any) -> str:
    if isinstance(value, tuple | list):
        return "[" + ",".join(map(str, value)) + "]"
    return '""' if value == "" else str(value)


def as_json(row: Row) -> dict[str, Any]:
    names = ("validation", "test", "difference", "at_equal_time", "fitted", "seconds")
    values = {name: getattr(row, name) for name in names}
    parts = {
        name: None if value is None else {"mean": value.mean, "half": value.half} for name, value in values.items()
    }
    cell = row.cell
    names_of = {"cell": cell.name, "baseline": cell.baseline, "equal_time": cell.equal_time}
    return {**names_of, "seeds": sorted(row.lines), **parts}
