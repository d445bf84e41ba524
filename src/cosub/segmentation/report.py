"""A report on a segmenter: by class, what is taken for what, and the scenes that it does worst on."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import nn

from cosub.errors import InputError
from cosub.evaluation.report.confusion import ClassRow, by_class, draw_matrix, mistakes, write_matrix
from cosub.runs.names import write_rows, write_text
from cosub.runs.tables import markdown
from cosub.segmentation.evaluation import Result, Viewer
from cosub.segmentation.overlays import show_scenes
from cosub.segmentation.scenes import SceneExamples

_WORST = 8  # scenes in the picture
_PAIRS = 10


@dataclass(frozen=True)
class _Chosen(SceneExamples):
    """Some scenes of a set, in an order of their own."""

    whole: SceneExamples
    places: Sequence[int]

    def pair(self, index: int) -> Any:
        return self.whole.pair(self.places[index])


def write_report(
    result: Result,
    network: nn.Module,
    examples: SceneExamples,
    look: Viewer,
    name: str,
    folder: Path,
    layers: Sequence[int] | None = None,
) -> dict[str, Any]:
    """Write what was found of a segmenter into a new or empty folder.

    Args:
        result: what was found.
        network: the segmenter, on the viewer's device.
        examples: the scenes.
        look: how the network sees a scene.
        name: of the network, for people.
        folder: where to write.
        layers: the residual layers of a submodel; by default the full network.

    Returns:
        the numbers, which are those of report.json.

    Raises:
        InputError: if no scene with a labelled pixel can be read.
    """
    matrix, classes = result.matrix, [score.name for score in result.classes]
    if not int(matrix.sum()):
        raise InputError("report: no scene with a labelled pixel can be read; name others with --data.path")
    folder.mkdir(exist_ok=True)
    rows = by_class(matrix, classes)
    write_matrix(matrix, classes, folder / "confusion.csv")
    title = f"{name}: {result.num_images:,} scenes, mIoU {result.miou:.1%}"
    draw_matrix(matrix, classes, title, "pixels", folder / "confusion.png")
    _write_classes(rows, folder / "classes.csv")
    order = sorted(result.scenes, key=lambda place: result.scenes[place])
    lines = ([examples.name(place), round(result.scenes[place], 6)] for place in order)
    write_rows(folder / "scenes.csv", ("scene", "pixel accuracy"), lines)
    worst = order[:_WORST]
    chosen = _Chosen(len(classes), [examples.labels[place] for place in worst], examples, worst)
    show_scenes(network, chosen, classes, look, len(worst), folder / "worst.png", layers=layers)
    numbers = {"run": name, **result.summary, "bad_images": len(result.bad), "classes": [asdict(row) for row in rows]}
    write_text(folder / "report.json", json.dumps(numbers, indent=1) + "\n")
    pairs = list(mistakes(matrix, classes, _PAIRS))
    write_text(folder / "report.md", "\n".join(_page(numbers, rows, pairs, int(matrix.sum()))) + "\n")
    return numbers


def _write_classes(rows: Sequence[ClassRow], path: Path) -> None:
    titles = ("class", "pixels", "IoU", "accuracy", "precision", "mistaken for")
    values = ([row.name, row.number, row.iou, row.recall, row.precision, row.taken_for] for row in rows)
    write_rows(path, titles, values)


def _page(
    numbers: dict[str, Any], rows: Sequence[ClassRow], pairs: Sequence[tuple[str, str, int]], pixels: int
) -> Iterator[str]:
    yield f"# Report on {numbers['run']}\n"
    yield f"{numbers['num_images']:,} scenes: mIoU {numbers['miou']:.1%}, pixel accuracy {numbers['accuracy']:.1%}."
    yield f"{numbers['bad_images']} scenes cannot be read and are not counted.\n" if numbers["bad_images"] else ""
    yield "## By class\n"
    lines = []
    for row in sorted(rows, key=lambda row: (row.iou is None, row.iou or 0.0)):
        shares = ["-" if value is None else f"{value:.1%}" for value in (row.iou, row.recall, row.precision)]
        lines.append([row.name, f"{row.number / pixels:.1%}", *shares, row.taken_for or "-"])
    yield from markdown(("class", "share of pixels", "IoU", "accuracy", "precision", "most often mistaken for"), lines)
    yield "\n![Confusion matrix](confusion.png)\n"
    if pairs:
        shares = (f"{a} taken for {b} ({n / pixels:.2%} of the pixels)" for a, b, n in pairs)
        yield f"Most frequent mistakes: {'; '.join(shares)}.\n"
    yield "## The scenes with the lowest pixel accuracy\n\nscenes.csv names all, the worst first.\n"
    yield "![The worst scenes: image, annotation, prediction](worst.png)"
