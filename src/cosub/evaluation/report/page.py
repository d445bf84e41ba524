"""A report in a folder: a page in Markdown, its tables as CSV, its pictures, and its numbers as JSON."""

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor
from torchmetrics.functional.classification import multiclass_confusion_matrix

from cosub.data.sources import Examples
from cosub.evaluation.report.calibration import Calibration, calibrate, interval
from cosub.evaluation.report.confusion import ClassRow, by_class, draw_matrix, mistakes, write_matrix
from cosub.evaluation.report.pictures import draw_calibration, draw_errors, worst
from cosub.evaluation.report.scoring import Scored
from cosub.runs.names import write_rows, write_text
from cosub.runs.tables import markdown, number_of

SHOWN_ERRORS = 24
_WEAKEST = 15  # classes in the page's table; the CSV has all
_PAIRS = 10


@dataclass(frozen=True)
class Subject:
    """What is reported on."""

    name: str
    """The network: a run's folder, or weights."""
    images: str
    """Where the images were found, for people."""
    classes: tuple[str, ...]
    examples: Examples
    scored: Scored
    fitted: Scored
    """Images on which the temperature and the confidences are chosen."""
    measured: Scored
    """Images on which they are measured; none is among those fitted on."""
    fitted_on: str
    """Which images are fitted on, for people."""


def write_report(subject: Subject, folder: Path, precisions: Sequence[float]) -> dict[str, Any]:
    """Write the report into a new or empty folder. Returns its numbers, which are those of report.json."""
    folder.mkdir(exist_ok=True)
    scored, classes = subject.scored, subject.classes
    matrix = multiclass_confusion_matrix(scored.predicted, scored.labels, len(classes))
    rows = by_class(matrix, classes)
    title = f"{subject.name}: {len(scored):,} images, top-1 {float(scored.right.double().mean()):.1%}"
    write_matrix(matrix, classes, folder / "confusion.csv")
    draw_matrix(matrix, classes, title, "images", folder / "confusion.png")
    _write_classes(rows, folder / "classes.csv")
    wrong = worst(scored, len(scored))
    _write_errors(subject, wrong, folder / "errors.csv")
    if len(wrong):
        shown = wrong[:SHOWN_ERRORS]
        which = f"The {len(shown)} worst of {len(wrong):,} errors" if len(shown) < len(wrong) else "All errors"
        about = f"{which}, those first in which the true class has the least probability"
        draw_errors(scored, subject.examples, classes, shown, about, folder / "errors.png")
    calibration = calibrate(subject.fitted, subject.measured, precisions)
    on = f"{subject.name}: {len(subject.measured):,} images that were not fitted on"
    draw_calibration(subject.measured, calibration, on, folder / "calibration.png")
    right = int(scored.right.sum())
    numbers = {
        "run": subject.name,
        "images": subject.images,
        "num_images": len(scored),
        "bad_images": len(scored.bad),
        "top1": right / len(scored),
        "top1_interval": interval(right, len(scored)),
        "classes": [asdict(row) for row in rows],
        "fitted_on": subject.fitted_on,
        "calibration": asdict(calibration),
    }
    write_text(folder / "report.json", json.dumps(numbers, indent=1) + "\n")
    pairs = list(mistakes(matrix, classes, _PAIRS))
    write_text(folder / "report.md", "\n".join(_page(subject, numbers, rows, pairs, calibration, len(wrong))) + "\n")
    return numbers


def _write_classes(rows: Iterable[ClassRow], path: Path) -> None:
    titles = ("class", "images", "accuracy", "low", "high", "precision", "mistaken for")
    values = ([row.name, row.number, row.recall, *_interval(row), row.precision, row.taken_for] for row in rows)
    write_rows(path, titles, values)


def _write_errors(subject: Subject, rows: Tensor, path: Path) -> None:
    scored, probabilities = subject.scored, subject.scored.probabilities
    lines = []
    for row in rows.tolist():
        label, predicted = int(scored.labels[row]), int(scored.predicted[row])
        values = (f"{float(probabilities[row, index]):.6f}" for index in (label, predicted))
        name = subject.examples.name(int(scored.places[row]))
        lines.append([name, subject.classes[label], subject.classes[predicted], *values])
    titles = ("image", "true class", "predicted class", "probability of the true one", "of the predicted one")
    write_rows(path, titles, lines)


def _interval(row: ClassRow) -> tuple[float | None, float | None]:
    if row.recall is None:
        return None, None
    low, high = interval(round(row.recall * row.number), row.number)
    return round(low, 6), round(high, 6)


def _page(
    subject: Subject,
    numbers: dict[str, Any],
    rows: Sequence[ClassRow],
    pairs: Sequence[tuple[str, str, int]],
    calibration: Calibration,
    errors: int,
) -> Iterator[str]:
    low, high = numbers["top1_interval"]
    yield f"# Report on {subject.name}\n"
    yield f"{numbers['num_images']:,} images of {len(subject.classes)} classes, {subject.images}."
    yield f"Top-1 {numbers['top1']:.1%} (95% interval {low:.1%} to {high:.1%})."
    yield f"{number_of(numbers['bad_images'], 'image')} not counted: unreadable.\n" if numbers["bad_images"] else ""
    yield "## By class\n"
    yield from _weakest(rows)
    yield "\n![Confusion matrix](confusion.png)\n"
    if pairs:
        yield "Most frequent mistakes: " + "; ".join(f"{a} taken for {b} ({n})" for a, b, n in pairs) + ".\n"
    yield "## The worst errors\n"
    if errors:
        yield f"{number_of(errors, 'image')} wrong; errors.csv names them, the worst first.\n"
        yield "![Worst errors](errors.png)\n"
    else:
        yield "No image is wrong.\n"
    yield from _trust(subject, calibration)


def _weakest(rows: Sequence[ClassRow]) -> Iterator[str]:
    known = sorted((row for row in rows if row.recall is not None), key=lambda row: (row.recall, row.name))
    more = len(rows) - len(known[:_WEAKEST])
    if more:
        yield f"The {len(known[:_WEAKEST])} weakest; classes.csv has all {len(rows)}.\n"
    lines = []
    for row in known[:_WEAKEST]:
        low, high = _interval(row)
        precision = "-" if row.precision is None else f"{row.precision:.1%}"
        measured = [f"{row.number:,}", f"{row.recall:.1%}", f"{low:.1%} to {high:.1%}", precision]
        lines.append([row.name or "-", *measured, row.taken_for or "-"])
    yield from markdown(("class", "images", "accuracy", "95% interval", "precision", "most often mistaken for"), lines)


def _trust(subject: Subject, found: Calibration) -> Iterator[str]:
    yield "## How far confidence can be trusted\n"
    measured = f"measured on {found.measured_images:,} others"
    yield f"Fitted on {found.fitted_images:,} images ({subject.fitted_on}), {measured}.\n"
    scaled = f"logits divided by {found.temperature:.3f}"
    both = (("as it is", found.ece, found.loss), (scaled, found.ece_scaled, found.loss_scaled))
    errors = [(name, f"{ece:.1%}", f"{loss:.3f}") for name, ece, loss in both]
    yield from markdown(("", "calibration error (ECE)", "cross-entropy"), errors)
    yield "\n![Calibration](calibration.png)\n"
    yield "Below which probability of the first class to reject an image; `cosub predict --csv` has all digits:\n"
    head = ("precision wanted", "reject below", "kept", "precision measured", "95% interval")
    yield from markdown(head, ((f"{item.precision:.1%}", *_rejection(item)) for item in found.rejections))


def _rejection(item: Any) -> tuple[str, str, str, str]:
    if item.confidence is None:
        return "no confidence reaches it", "-", "-", "-"
    kept = f"{item.kept:.1%}"
    if item.measured is None or item.interval is None:
        return _digits(item.confidence), kept, "-", "-"
    low, high = item.interval
    return _digits(item.confidence), kept, f"{item.measured:.1%}", f"{low:.1%} to {high:.1%}"


def _digits(confidence: float) -> str:
    """So many, rounded down, that the images just above it stay above: two of what it is away from 1."""
    places = 4 if confidence < 0.999 else 2 - math.floor(math.log10(max(1 - confidence, 1e-7)))
    return f"{math.floor(confidence * 10**places) / 10**places:.{places}f}"
