"""cosub plot RUN [RUN ...] [--out FILE.png]"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from cosub.api.parsing import parse
from cosub.errors import InputError


@dataclass(frozen=True)
class Plot:
    """Training loss, and accuracy on validation or test images, of one or more runs in one picture."""

    runs: Annotated[Positional[tuple[str, ...]], arg(metavar="RUN...")]
    """Run folders."""
    out: str = ""
    """The PNG; by default curves.png in the run's folder, or here for several runs."""


def run(words: list[str], as_json: bool) -> dict[str, Any]:
    options = parse(Plot, words, "cosub plot")
    if not options.runs:
        raise InputError("RUNS: is missing; name one or more run folders")
    runs = [Path(name) for name in options.runs]
    for path in runs:
        if not (path / "metrics.jsonl").is_file():
            raise InputError(f"run: {path}: holds no run (no metrics.jsonl); name a folder that cosub train has made")
    target = Path(options.out) if options.out else (runs[0] if len(runs) == 1 else Path()) / "curves.png"
    if target.suffix != ".png":
        raise InputError(f"out: {target}: must end in .png; name another file")
    if (options.out or len(runs) > 1) and target.exists():
        raise InputError(f"out: {target}: exists; remove it, or name another file with --out")
    if not target.parent.is_dir():
        raise InputError(f"out: {target}: its folder does not exist; make it first, or name another file")
    from cosub.train.plot import plot_runs

    plot_runs(runs, target)
    if not as_json:
        print(target)
    return {"runs": [str(path) for path in runs], "picture": str(target)}
