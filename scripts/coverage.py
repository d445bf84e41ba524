"""How many of timm's models attach, by family: of those that have drop paths when they are built with a rate.

    python scripts/coverage.py                              # some minutes; nothing is allocated
    python scripts/coverage.py --page docs/architectures.md # and writes the table between the page's markers

A family is a file of timm. Prints the table.
"""

import argparse
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import timm
import torch
from timm.layers.drop import DropPath
from torch import Tensor
from torch.overrides import TorchFunctionMode

from cosub.attachment import attach

START, END = "<!-- coverage: scripts/coverage.py -->", "<!-- end of coverage -->"


def standings(names: Iterable[str]) -> list[dict[str, str]]:
    """A row for each model of timm that has drop paths when it is built with a `drop_path_rate`.

    `{"family", "model", "reason"}`: timm's file, the name, and why `attach` refuses it, or "" if it does not. Models
    are built on the meta device, so that size does not matter.
    """
    return [row for name in names if (row := _standing_of(name)) is not None]


class _Unwritten(TorchFunctionMode):
    """Skips in-place operations, which take most of the time: tensors on the meta device have nothing to write."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = getattr(func, "__name__", "")
        in_place = name.endswith("_") and not name.startswith("_") and name != "requires_grad_"
        if in_place and isinstance(args[0] if args else None, Tensor) and args[0].is_meta:
            return args[0]
        return func(*args, **(kwargs or {}))


def _standing_of(name: str) -> dict[str, str] | None:
    try:
        with torch.device("meta"), _Unwritten():
            model = timm.create_model(name, drop_path_rate=0.1)
    except TypeError:  # the model has no such argument
        return None
    live = [module for module in model.modules() if isinstance(module, DropPath) and module.drop_prob]
    for module in live:
        module.drop_prob = 0.0
    row = {"family": timm.model_entrypoint(name).__module__.rpartition(".")[2], "model": name, "reason": ""}
    try:
        attach(model, drop_rate=0.1)
    except ValueError as error:
        row["reason"] = str(error).partition(" has ")[2].partition(";")[0]
    return row if live else None


def by_family(rows: Iterable[dict[str, str]]) -> list[dict[str, Any]]:
    """A row for each family of `standings`: `{"family", "models", "attach", "reasons"}`, two numbers and a list."""
    families: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        families.setdefault(row["family"], []).append(row)
    return [
        {
            "family": family,
            "models": len(found),
            "attach": sum(not row["reason"] for row in found),
            "reasons": sorted({row["reason"] for row in found} - {""}),
        }
        for family, found in sorted(families.items())
    ]


def table(rows: list[dict[str, str]]) -> str:
    """A line per family: first those that attach as a whole, then those with refused models."""
    families = by_family(rows)
    whole = [family for family in families if family["attach"] == family["models"]]
    lines = [
        f"timm {timm.__version__}: of {len(families)} families with drop paths, {len(whole)} attach as a whole and "
        f"{sum(0 < f['attach'] < f['models'] for f in families)} in part; of {len(rows)} models, "
        f"{sum(not row['reason'] for row in rows)}.",
        "",
        "| family | models | attach | blocks without a twin |",
        "|---|---|---|---|",
    ]
    for family in sorted(families, key=lambda f: (-f["attach"] / f["models"], f["family"])):
        missing = {name for reason in family["reasons"] for name in (reason.partition(": ")[2] or reason).split(", ")}
        lines.append(f"| {family['family']} | {family['models']} | {family['attach']} | {', '.join(sorted(missing))} |")
    return "\n".join(lines)


def write(page: Path, text: str) -> None:
    found = re.search(f"{re.escape(START)}.*?{re.escape(END)}", page.read_text(), re.S)
    if found is None:
        raise SystemExit(f"{page} has no {START}")
    page.write_text(page.read_text().replace(found[0], f"{START}\n{text}\n{END}"))


def commit() -> str:
    return subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=True
    ).stdout.strip()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", type=Path, help="a page with markers")
    chosen, version = parser.parse_args(), commit()
    names = [name for name in timm.list_models() if timm.model_entrypoint(name).__module__.startswith("timm.")]
    rows = standings(names)
    text = table(rows)
    print(text)
    if chosen.page:
        write(chosen.page, f"`python scripts/coverage.py` at {version}. {text}")
