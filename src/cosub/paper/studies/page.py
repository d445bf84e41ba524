"""docs/studies.md and its pictures, made from docs/runs.jsonl."""

from collections.abc import Iterator
from pathlib import Path

from cosub.errors import InputError
from cosub.paper.studies import picture
from cosub.paper.studies.grid import Run, Study
from cosub.paper.studies.ledger import Ledger, Line
from cosub.paper.studies.report import Row, compared, markdown, rows, where
from cosub.paper.studies.tables import STUDIES
from cosub.recipes import get, recipes
from cosub.runs.folder import write_atomically

WHERE = "study-where.png"

HEADER = """# Studies

The paper's tables and figures at small scale. Made by `cosub study --write` from `runs.jsonl`, which has a line for
each run; not to be edited. Accuracies are top-1 in percent: the mean over seeds, ± half of its 95 % interval
(Student's t). A seed decides the initialisation, the order, and which images are trained on. "To baseline" is the mean
of differences between runs of the same seed, to the row whose cell there is empty. Choices are made on
validation images; the test set is not used for model selection. "Training, middle" is the accuracy of the full
network on the images trained on, half-way through the schedule. Seconds were taken on machines that were not idle,
unless said otherwise. A `+` marks a commit with changes on top.
"""


def write(ledger: Path) -> list[Path]:
    """Write the page and its pictures beside the ledger; what was written.

    Raises:
        InputError: if there is no ledger.
    """
    if not ledger.exists():
        raise InputError(f"ledger: {ledger}: there is none; run a study first, or name another --ledger")
    known = Ledger(ledger)
    page = ledger.parent / "studies.md"
    written = [page]
    found = list(sections(known))
    for made, rows_ in found:
        target = ledger.parent / _picture(made)
        if picture.draw(made, rows_, target):
            written.append(target)
    if gains := compared(rows_ for _, rows_ in found):
        written.append(ledger.parent / WHERE)
        picture.gains(gains, written[-1])
    write_atomically(page, text(known))
    return written


def text(ledger: Ledger) -> str:
    """The whole page."""
    found = list(sections(ledger))
    gains = compared(rows for _, rows in found)
    tables = [markdown(made, rows, _picture(made)) for made, rows in found]
    return "\n".join([HEADER, *([where(gains, WHERE)] if gains else []), *tables])


def sections(ledger: Ledger) -> Iterator[tuple[Study, list[Row]]]:
    """Every study with the recipes on which it was begun, or which other studies have finished for it.

    A section has the seeds that its own study was run for: others may have more of a cell that they share, and means
    over different seeds are no comparison.
    """
    last: dict[tuple[str, str], int] = {}
    for line in ledger.lines:
        key = line["study"], line["recipe"]
        last[key] = max(last.get(key, 0), line["seed"])
    for name, make in STUDIES.items():
        for recipe in recipes():
            if not any(key[1] == recipe for key in last):
                continue
            try:
                made = make(get(recipe))
            except InputError:  # it cannot start from that recipe
                continue
            seeds = last[name, recipe] + 1 - made.first_seed if (name, recipe) in last else 0
            found = rows(made, ledger, max(seeds, made.seeds))
            if seeds or all(len(row.lines) >= made.seeds for row in found):
                yield made, found


def orphans(ledger: Ledger) -> list[Line]:
    """Lines that no cell of their study asks for any more: it was changed since, or a recipe was."""
    seeds = {line["seed"] for line in ledger.lines}
    asked = {Run(made, cell, seed).key for made, _ in sections(ledger) for cell in made.cells for seed in seeds}
    return [line for line in ledger.lines if line["key"] not in asked]


def _picture(made: Study) -> str:
    return f"study-{made.name}-{made.cells[0].recipe.name}.png"
