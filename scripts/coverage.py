"""How many of timm's models attach, by family: of those that have drop paths when they are built with a rate.

    python scripts/coverage.py                              # some minutes; nothing is allocated
    python scripts/coverage.py --page docs/architectures.md # and writes the table between the page's markers

A family is a file of timm. Prints the table.
"""

import argparse
import re
import subprocess
from pathlib import Path

import timm

from cosub.bench.coverage import by_family, standings

START, END = "<!-- coverage: scripts/coverage.py -->", "<!-- end of coverage -->"


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
