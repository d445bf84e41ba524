"""Results as CSV: one row per result, one column per field."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cosub.runs.names import write_rows

_DIGITS = 6


def write_csv(rows: Sequence[Any], target: Path) -> None:
    """Write dataclasses of one kind. Lists are joined with spaces, None is empty, numbers have six digits."""
    titles = (field.name for field in dataclasses.fields(rows[0]))
    write_rows(target, titles, ([_cell(value) for value in plain(row).values()] for row in rows))


def plain(row: Any) -> dict[str, Any]:
    """A result as values for JSON, rounded as in the CSV."""
    return {field.name: _rounded(getattr(row, field.name)) for field in dataclasses.fields(row)}


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}")
    return list(value) if isinstance(value, tuple) else value


def _cell(value: Any) -> Any:
    return " ".join(map(str, value)) if isinstance(value, list) else value
