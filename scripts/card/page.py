"""Results as Markdown: each bar with what was measured, and PASS or MISS; then all measurements."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from card.row import Bar, Row, value_at
from card.running import Results

BEGIN, END = "<!-- scripts/card.py: begin -->", "<!-- scripts/card.py: end -->"
NOT_YET = "not yet run"


def markdown(rows: Sequence[Row], results: Results) -> str:
    return "\n".join([*_where(results), *_bars(rows, results), "", *_values(rows, results)])


def page(target: Path, rows: Sequence[Row], results: Results) -> None:
    """Write the tables between the two markers of a page; Markdown needs an empty line after a comment."""
    before, rest = target.read_text().split(BEGIN)
    _, after = rest.split(END)
    target.write_text(f"{before}{BEGIN}\n\n{markdown(rows, results)}\n\n{END}{after}")


def _where(results: Results) -> Iterator[str]:
    """The machines and versions of the results, if there are any."""
    seen = {tuple(result[key] for key in ("device", "torch", "timm", "commit")) for result in results.values()}
    for device, torch, timm, commit in sorted(seen):
        yield f"{device}, torch {torch}, timm {timm}, commit {commit}."
    if seen:
        yield ""


def _bars(rows: Sequence[Row], results: Results) -> Iterator[str]:
    yield "| row | measure | experiment | bar | goal | measured | |"
    yield "|---|---|---|---|---|---|---|"
    for row in rows:
        for bar in row.bars:
            measured, verdict = _against(bar, results.get(row.name))
            goal = "" if bar.goal is None else f"{bar.goal:,g}"
            limit = f"{'at least' if bar.at_least else 'at most'} {bar.bar:,g}"
            yield f"| {row.what} | {bar.what} | {bar.before} | {limit} | {goal} | {measured} | {verdict} |"


def _against(bar: Bar, result: dict[str, Any] | None) -> tuple[str, str]:
    if result is None:
        return NOT_YET, ""
    if result["state"] != "done":
        return f"{result['state']}: {_in_a_cell(result['reason'])}", ""
    try:
        value = value_at(result["values"], bar.key)
    except KeyError:  # memory is measured only on a GPU
        return "not measured here", ""
    return f"{value:,g}", bar.verdict(value)


def _values(rows: Sequence[Row], results: Results) -> Iterator[str]:
    yield "| row | on | seconds | all measurements |"
    yield "|---|---|---|---|"
    for row in rows:
        result = results.get(row.name)
        if result is None:
            yield f"| {row.what} | | | {NOT_YET} |"
            continue
        found = _as_text(result["values"]) if result["state"] == "done" else f"{result['state']}: {result['reason']}"
        yield f"| {row.what} | {result['device']} | {result['seconds']:.0f} | {_in_a_cell(found)} |"


def _as_text(values: dict[str, Any]) -> str:
    return "; ".join(f"{key}: {json.dumps(value).replace(chr(34), '').strip('{}')}" for key, value in values.items())


def _in_a_cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")
