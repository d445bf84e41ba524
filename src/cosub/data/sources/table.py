"""A table of images: a CSV file with columns path and label, and optionally split and group."""

import csv
import io
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cosub.data.sources.folder import Files
from cosub.data.sources.grouping import hold_out
from cosub.data.sources.source import HELD_OUT, Source
from cosub.data.sources.splits import resolve_splits
from cosub.errors import InputError
from cosub.recipes.data import Table
from cosub.seeds import derive

COLUMNS = ("path", "label", "split", "group")


class TableRow(NamedTuple):
    """A row. `split` is train, validation, test, or empty in all rows. `group` is by default the image's path."""

    line: int
    path: Path
    label: str
    split: str
    group: str


def open_table(config: Table) -> Source:
    """Open a table. Without splits, a share of each class is held out; images of one group stay together.

    Raises:
        InputError: for a file that cannot be read as such a table, an image that is missing or named twice, a group in
            two splits, a class that the training images lack.
    """
    rows = read_table(config)
    parts = {split: [row for row in rows if row.split == split] for split in ("train", "validation", "test")}
    train = parts["train"] or [row for row in rows if not row.split]
    if not train:
        raise InputError(f"data.path: {config.path}: has no row to train on; write train into its column split")
    classes = _ordered({row.label for row in train})
    places = dict.fromkeys(parts, f"of {config.path}")
    if not parts["validation"] and not parts["test"]:
        train, parts["validation"] = _held_out(train, config)
        places["test"] = f"{HELD_OUT} {config.path}"
    validation = _files(parts["validation"], classes, config.path) if parts["validation"] else None
    test = _files(parts["test"], classes, config.path) if parts["test"] else validation
    assert test is not None
    groups = [row.group for row in train]
    return Source(classes, _files(train, classes, config.path), test, validation, places, groups=groups)


def images_of_table(config: Table, classes: Sequence[str]) -> Files | None:
    """All images of a table without splits, labelled by the given classes; else None."""
    rows = read_table(config)
    return None if rows[0].split else _files(rows, classes, config.path)


def read_table(config: Table) -> list[TableRow]:
    """The rows of a table, checked."""
    if not config.path:
        raise InputError("data.path: is not given; name the table with --data.path FILE.csv")
    path = Path(os.path.expanduser(config.path))
    if not path.is_file():
        raise InputError(f"data.path: {config.path}: is not a file; name a table, FILE.csv")
    cells = list(_cells(path))
    if not cells:
        raise InputError(f"data.path: {path}: has no rows; add some, or name another table")
    splits = resolve_splits([values.get("split", "") for _, values in cells])
    whole = any(values.get("split") for _, values in cells)
    rows = [_row(path, line, values, splits, whole) for line, values in cells]
    _require_files(path, rows)
    _refuse_twice(path, rows)
    _refuse_leaks(path, rows)
    return rows


def write_table(target: Path, rows: Iterable[tuple[str, str, str, str]]) -> None:
    """Write path, label, split and group. Paths below the table's folder are written relative to it."""
    folder = target.absolute().parent
    with target.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for name, *others in rows:
            path = Path(name).absolute()
            writer.writerow([path.relative_to(folder) if path.is_relative_to(folder) else path, *others])


# --- reading


def _cells(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and values by column of rows that are not blank. Commas, semicolons or tabs separate them."""
    text = path.read_bytes().decode("utf-8-sig", "surrogateescape")
    if "\0" in text:
        raise InputError(f"data.path: {path}: is not text; write the table as CSV in UTF-8")
    first = next(iter(text.splitlines()), "")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count))
    try:
        names = [name.strip().lower() for name in next(reader, [])]
        if not {"path", "label"} <= set(names):
            raise InputError(
                f"data.path: {path}: needs the columns path and label, and has {', '.join(names) or 'none'}"
            )
        for values in reader:
            if any(value.strip() for value in values):
                yield reader.line_num, {name: value.strip() for name, value in zip(names, values, strict=False)}
    except csv.Error as error:
        raise InputError(f"data.path: {path}: line {reader.line_num} cannot be read as CSV ({error})") from error


def _row(path: Path, line: int, values: Mapping[str, str], splits: Mapping[str, str], whole: bool) -> TableRow:
    if missing := [name for name in ("path", "label") if not values.get(name)]:
        raise InputError(f"data.path: {path}: line {line} has no {missing[0]}; fill or remove it")
    split = values.get("split", "")
    if whole and split not in splits:
        raise InputError(
            f"data.path: {path}: line {line} has split {split!r}; it must be train, validation or test, in all rows"
        )
    place = _place(path.parent, values["path"])
    return TableRow(line, place, values["label"], splits.get(split, ""), values.get("group") or os.fspath(place))


def _place(folder: Path, name: str) -> Path:
    """The path of a row's image. Backslashes are separators, unless a file with that exact name exists."""
    place = folder / name
    return folder / name.replace("\\", "/") if "\\" in name and not place.is_file() else place


def _require_files(table: Path, rows: Sequence[TableRow]) -> None:
    missing = [row for row in rows if not row.path.is_file()]
    if missing:
        more = f", nor are {len(missing) - 1} more" if len(missing) > 1 else ""
        raise InputError(
            f"data.path: {table}: line {missing[0].line}: {missing[0].path} is not a file{more}; paths are absolute, "
            f"or relative to {table.parent}"
        )


def _refuse_twice(table: Path, rows: Sequence[TableRow]) -> None:
    seen: dict[Path, int] = {}
    for row in rows:
        if (other := seen.setdefault(row.path, row.line)) != row.line:
            raise InputError(f"data.path: {table}: lines {other} and {row.line} are both {row.path}; remove one")


def _refuse_leaks(table: Path, rows: Sequence[TableRow]) -> None:
    first: dict[str, TableRow] = {}
    leaks = {row.group: row for row in rows if first.setdefault(row.group, row).split != row.split}
    if leaks:
        what = "1 group is" if len(leaks) == 1 else f"{len(leaks)} groups are"
        first_five = ", ".join(
            f"{group} ({first[group].split} in line {first[group].line}, {row.split} in line {row.line})"
            for group, row in list(leaks.items())[:5]
        )
        raise InputError(f"data.path: {table}: {what} in two splits: {first_five}; put each group into one split")


# --- sets


def _held_out(rows: Sequence[TableRow], config: Table) -> tuple[list[TableRow], list[TableRow]]:
    """The rows to train on, and those that are held out."""
    generator = np.random.default_rng(derive("table", config.split_seed))
    held = set(hold_out([row.label for row in rows], [row.group for row in rows], config.val_share, generator))
    if not held:
        raise InputError(
            f"data.path: {config.path}: no group can be held out without losing a class; write train and test into "
            "its column split"
        )
    return [row for i, row in enumerate(rows) if i not in held], [row for i, row in enumerate(rows) if i in held]


def _files(rows: Sequence[TableRow], classes: Sequence[str], where: str) -> Files:
    index = {name: number for number, name in enumerate(classes)}
    if odd := next((row for row in rows if row.label not in index), None):
        raise InputError(
            f"data.path: {where}: line {odd.line} has label {odd.label}, which no training image has; correct or "
            "remove it"
        )
    return Files([row.path for row in rows], [index[row.label] for row in rows])


def _ordered(names: Iterable[str]) -> tuple[str, ...]:
    """Sorted by name, or by value if all are numbers."""
    names = sorted(names)
    return tuple(sorted(names, key=int) if all(re.fullmatch(r"\d+", name, re.ASCII) for name in names) else names)
