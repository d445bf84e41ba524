"""A file with a JSON line for each finished run: docs/runs.jsonl, in git, so that a number outlives its folder."""

import errno
import functools
import json
import os
import subprocess
from pathlib import Path
from typing import Any

from cosub.errors import InputError, RunError
from cosub.paper.studies.calibration import calibration_of
from cosub.paper.studies.grid import Run
from cosub.recipes import get
from cosub.recipes.files import overrides
from cosub.runs.folder import RunFolder
from cosub.train import logs

LONGEST = 2048  # bytes

Line = dict[str, Any]


class Ledger:
    """The lines of a file, by the key of their run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines = read(path)

    def reload(self) -> None:
        """Read what other commands have added."""
        self.lines = read(self.path)

    def find(self, run: Run) -> Line | None:
        """The line of a run, whichever study it was trained for, if it has as many points as are needed."""
        points = min(run.study.points, run.recipe.epochs)
        key = run.key  # a hash of the whole recipe: once, not for each line
        fit = (line for line in self.lines if line["key"] == key and len(line["curve"]) >= points)
        return max(fit, key=lambda line: line["study"] == run.study.name, default=None)

    def record(self, run: Run, folder: Path) -> Line:
        """Add the line of a run that is finished in its folder.

        Raises:
            RunError: if it is too long, or cannot be written.
        """
        line = describe(run, folder)
        text = json.dumps(line) + "\n"
        if len(text.encode()) > LONGEST:
            raise RunError(f"{self.path}: the line of {run} has more than {LONGEST} bytes; shorten its names")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            _append(self.path, text.encode())
        except OSError as error:
            raise RunError(f"{self.path}: cannot be written ({error.strerror})") from error
        self.lines.append(line)
        return line


def _append(path: Path, line: bytes) -> None:
    """One write, since others may append at the same time. Of a line for which there is no room, nothing stays."""
    with path.open("ab", buffering=0) as file:
        before = file.tell()
        if file.write(line) != len(line):
            file.truncate(before)
            raise OSError(errno.ENOSPC, "no room for a whole line", str(path))


def read(path: Path) -> list[Line]:
    """The lines of a file; none if there is no such file.

    Raises:
        InputError: for a line that is none of ours.
    """
    try:
        texts = path.read_text().splitlines() if path.exists() else []
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"ledger: {path}: cannot be read ({error})") from error
    return [_parsed(text, path, number) for number, text in enumerate(texts, 1) if text.strip()]


def _parsed(text: str, path: Path, number: int) -> Line:
    try:
        line = json.loads(text)
    except ValueError:
        line = None
    if not isinstance(line, dict) or not {"study", "cell", "key", "seed", "top1", "curve"} <= line.keys():
        raise InputError(f"ledger: {path}: line {number} is not the line of a run; mend or remove it")
    return line


def describe(run: Run, folder: Path) -> Line:
    """What a finished run was and what came out, in one line."""
    summary, recipe = RunFolder(folder).read_summary(), run.recipe
    curve = [[line["epoch"], line["train_top1"], line["top1"]] for line in logs.read(folder) if "train_top1" in line]
    held_out = summary.get("validation_top1", summary["top1"])
    return {
        "study": run.study.name,
        "cell": run.cell.name,
        "recipe": recipe.name,
        "overrides": overrides(recipe, get(recipe.name)),
        "uses": dict(run.cell.uses),
        "seed": run.seed,
        "key": run.key,
        "commit": commit(),
        "device": device(summary["device"], summary["threads"], summary.get("gpu", "")),
        "steps": summary["steps"],
        "seconds": summary["seconds"],
        "top1": summary["top1"],
        "validation_top1": summary.get("validation_top1"),
        "train_top1": summary["train_top1"],
        "top1_submodels": summary["top1_submodels"],
        "curve": [*curve, [recipe.epochs, summary["train_top1"], held_out]],
        **(calibration_of(folder) if run.study.calibrated else {}),
    }


@functools.cache
def commit() -> str:
    """The commit of the code that runs; with a mark where files of the package differ from it. Without a history, what
    COSUB_COMMIT says, or the version."""
    import cosub

    package = Path(cosub.__file__).parent
    try:
        _git(package, "ls-files", "--error-unmatch", "__init__.py")  # an environment may lie in somebody's repository
        name = _git(package, "rev-parse", "--short", "HEAD")
        return name + ("+" if _git(package, "status", "--porcelain", "--", ".") else "")
    except (OSError, subprocess.CalledProcessError):
        return os.environ.get("COSUB_COMMIT", cosub.__version__)


def _git(folder: Path, *words: str) -> str:
    return subprocess.run(
        ["git", "-C", os.fspath(folder), *words], check=True, capture_output=True, text=True
    ).stdout.strip()


def device(name: str, threads: int, gpu: str = "") -> str:
    """In words. `gpu`: as the run's summary names it."""
    if name.startswith("cuda"):
        return gpu or name
    return f"{name}, {threads} thread{'s' * (threads > 1)}"
