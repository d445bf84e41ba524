"""cosub evaluate RUN --report [FOLDER]: where the report goes, and what it needs."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cosub.errors import InputError
from cosub.recipes.files import is_run

AUTO = "auto"
_IMAGES = {
    "validation": "the run's validation images, by which its epoch was chosen, so that accuracy is optimistic",
    "test": "held-out images of the run's data",
    "images": "images in {path}; the report cannot tell whether the network was trained on some of them",
}
"""Of sets that a recipe's data reading finds."""


def spelled_out(words: Sequence[str]) -> list[str]:
    """The words, `--report` without a folder as `--report auto`."""
    found: list[str] = []
    for place, word in enumerate(words):
        bare = word == "--report" and (place + 1 == len(words) or words[place + 1].startswith("-"))
        found += [word, AUTO] if bare else [word]
    return found


def folder_of(report: str, run: str) -> Path:
    """The folder to write, which is not there or empty.

    Raises:
        InputError: if it has something in it, or none is named for weights that are no run.
    """
    if report == AUTO and not is_run(run):
        raise InputError(f"report: {run} is no run's folder, so none lies in it; name one, --report FOLDER")
    folder = Path(run, "report") if report == AUTO else Path(report)
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise InputError(f"report: {folder}: is not an empty folder; name another, --report FOLDER")
    if not folder.parent.is_dir():
        raise InputError(f"report: {folder}: {folder.parent} is not a folder; make it first, or name another")
    if not os.access(folder if folder.exists() else folder.parent, os.W_OK):
        raise InputError(f"report: {folder}: cannot be written to; name another, --report FOLDER")
    return folder


def require_one(options: Any, world: Any, protocols: Sequence[str]) -> None:
    """Raises InputError for several sets, for one in which an image has several classes, and for several processes."""
    if len(protocols) > 1 or "real" in protocols:
        raise InputError(f"report: {options.report}: needs one set in which each image has one class")
    if world.size > 1:
        raise InputError(f"report: {options.report}: is written by one process; start it without torchrun")


def report(options: Any, candidate: Any, chosen: Any, layers: Any, world: Any, folder: Path) -> dict[str, Any]:
    """Write the report on one set of images. Returns its numbers."""
    from cosub.evaluation.report.page import write_report
    from cosub.evaluation.report.scoring import score
    from cosub.evaluation.report.subject import about
    from cosub.runs.progress import counted

    def scored(examples: Any) -> Any:
        return score(
            candidate,
            examples,
            world.device,
            layers=layers,
            batch_size=options.batch_size,
            workers=options.workers,
            progress=lambda batches, total: counted(batches, total, "report"),
        )

    images = _IMAGES.get(chosen.protocol, "{protocol} images in {path}").format(
        protocol=chosen.protocol, path=chosen.path
    )
    name = options.run if options.keep is None else f"{options.run}, {options.keep:.0%} of the blocks"
    subject = about(candidate, name, images, chosen, options.data.path, scored)
    return write_report(subject, folder, options.precisions)
