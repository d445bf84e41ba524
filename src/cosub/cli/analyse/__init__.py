"""cosub analyse population|layers|counts|quantisation|overfitting|tradeoff [RUN ...] [--key value ...]"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cosub.api.help import ALL
from cosub.api.parsing import parse
from cosub.cli.analyse.options import Counts, Layers, Overfitting, Population, Quantisation, Tradeoff
from cosub.errors import InputError, nearest
from cosub.recipes.files import require_run

ANALYSES: dict[str, type[Any]] = {
    "population": Population,
    "layers": Layers,
    "counts": Counts,
    "quantisation": Quantisation,
    "overfitting": Overfitting,
    "tradeoff": Tradeoff,
}
# What of a result is printed: the rest is in the CSV.
_SHOWN = {
    "population": "depths",
    "layers": "spearman",
    "counts": "counts",
    "quantisation": "marks",
    "overfitting": "accuracies",
    "tradeoff": "points",
}
_HIDDEN = {"best_layers", "missing"}
_SHARES = {"top1", "mean", "deviation", "least", "low", "high", "best"}
"""Accuracies, which are printed in percent."""


def run(words: list[str], as_json: bool) -> dict[str, Any]:
    what = words[0] if words else ""
    if what in ("-h", "--help", ALL):
        print(f"usage: cosub analyse {'|'.join(ANALYSES)} [RUN ...] [OPTIONS]\n")
        for name, kind in ANALYSES.items():
            print(f"  {name:<13} {(kind.__doc__ or '').strip()}")
        print("\ncosub analyse NAME --help lists its options")
        raise SystemExit(0)
    if what not in ANALYSES:
        raise InputError(f"analyse: {what!r}: must be {', '.join(ANALYSES)}{nearest(what, list(ANALYSES))}")
    kind = ANALYSES[what]
    options = parse(kind, words[1:], f"cosub analyse {what}")
    if not options.runs and kind not in (Counts, Quantisation):
        raise InputError("RUNS: is missing; name one or more finished runs")
    for folder in options.runs:
        require_run(folder)
    files = _files(options, what)
    from cosub.cli.analyse.figures import FIGURES
    from cosub.runs import distributed

    distributed.require_one_process("analyse")
    result = {"runs": list(options.runs), **FIGURES[what](options, files)}
    result |= {key: str(path) for key, path in files.items()}
    if not as_json:
        print("\n".join(_table(result[_SHOWN[what]], _HIDDEN)))
        print("\n".join(str(path) for path in files.values()))
    return result


def _files(options: Any, what: str) -> dict[str, Path]:
    """The files to write, none of which exists yet."""
    default = Path(options.runs[0] if len(options.runs) == 1 else "") / "analysis"
    folder = Path(options.out) if options.out else default
    if folder.exists() and not folder.is_dir():
        raise InputError(f"out: {folder}: is a file; name a folder with --out")
    above = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not os.access(above, os.W_OK):
        raise InputError(f"out: {folder}: cannot be written to; name another folder with --out")
    files = {"csv": folder / f"{what}.csv", "picture": folder / f"{what}.png"}
    if what == "population":
        files["members"] = folder / "population-submodels.csv"
    for path in files.values():
        if path.exists():
            raise InputError(f"out: {path}: exists; name another folder with --out, or remove it")
    return files


def _table(rows: Sequence[dict[str, Any]], hidden: set[str]) -> list[str]:
    """The rows as columns with their titles; nothing for no rows."""
    if not rows:
        return []
    from cosub.runs.tables import align

    titles = [name for name in rows[0] if name not in hidden]
    cells = [[_shown(row[name], name) for name in titles] for row in rows]
    return align([[title.replace("_", " ") for title in titles], *cells])


def _shown(value: Any, name: str) -> str:
    if value is None:
        return "-"
    if name in _SHARES:
        return f"{value:.2%}"
    return f"{value:.4g}" if isinstance(value, float) else ", ".join(value) if isinstance(value, list) else str(value)
